//! `down`: stop what `up` started. It always works: nothing running is fine, and an `up` that does not
//! answer is killed, upon which its guardian ends the pods.

use std::time::{Duration, Instant};

use crate::args;
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::process;
use crate::report::event::Exited;
use crate::report::{Event, Events, Printer, millis};
use crate::runtime::Running as _;
use crate::runtime::kind::Kind;
use crate::session::{self, Lock};

/// Longer than any pod's grace period should be: after it, `up` is taken to hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stops and says what ended how.
pub async fn run(args: args::Down, colour: bool) -> anyhow::Result<Exit> {
    let checkout = Checkout::open().await?;
    let mut printer = Printer::new(args.output, colour);
    let stopped = match Lock::holder(&checkout.state) {
        None => match of_cluster(&checkout, &mut printer).await {
            // A cluster that does not answer is deleted all the same.
            Err(error) if args.all => {
                printer.print(&Event::Warning { message: format!("{error:#}"), hint: None });
                Vec::new()
            }
            stopped => stopped?,
        },
        Some(holder) => {
            printer.print(&Event::Stopping { reason: format!("pid {}: up {}", holder.pid, holder.mode) });
            stop(&checkout, holder.pid, &mut printer).await?
        }
    };
    let start = Instant::now();
    let deleted = args.all && Kind::delete_cluster(&checkout, &Events::default()).await?;
    if args.all {
        for kept in [checkout.state.logs(), checkout.state.images()] {
            match std::fs::remove_dir_all(&kept) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(
                        Fault::environment(format!("cannot remove {}: {error}", kept.display())).into()
                    );
                }
                _ => {}
            }
        }
    }
    if deleted {
        let ms = millis(start.elapsed());
        printer.print(&Event::StepFinished { step: "cluster".into(), ms, detail: "deleted".into() });
    } else if stopped.is_empty() && args.output == args::Output::Text {
        crate::report::line_out("nothing is up in this checkout");
    } else {
        printer.print(&Event::Stopped { pods: stopped });
    }
    Ok(Exit::Ok)
}

/// Removes what a former `up` left in its cluster. A cluster that is gone has nothing.
async fn of_cluster(checkout: &Checkout, printer: &mut Printer) -> anyhow::Result<Vec<Exited>> {
    let Some(kind) = Kind::attach(checkout).await? else { return Ok(Vec::new()) };
    printer.print(&Event::Stopping { reason: "what was applied to the cluster".to_owned() });
    kind.stop().await
}

async fn stop(checkout: &Checkout, pid: u32, printer: &mut Printer) -> anyhow::Result<Vec<Exited>> {
    if let Some(session) = session::find(&checkout.state) {
        match tokio::time::timeout(PATIENCE, session.stop()).await {
            Ok(Ok(stopped)) => {
                released(checkout).await;
                return Ok(stopped);
            }
            Ok(Err(error)) => printer.print(&Event::Warning { message: format!("{error:#}"), hint: None }),
            Err(_) => {}
        }
    }
    if Lock::holder(&checkout.state).is_some() {
        let message = format!("`up` (pid {pid}) does not stop when asked; killing it");
        printer.print(&Event::Warning { message, hint: None });
        process::kill(pid);
        released(checkout).await;
    }
    Ok(Vec::new())
}

/// Waits for the other process to be gone, so that an `up` right after this one finds the lock free.
async fn released(checkout: &Checkout) {
    for _ in 0..500 {
        if Lock::holder(&checkout.state).is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
