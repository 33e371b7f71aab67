//! What happens, told to people and scripts: events in, text or JSON out.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use crate::args::{Output, When};
use crate::error::Fault;

mod columns;
pub mod event;
mod log_line;
pub mod step;
mod text;

pub use columns::columns;
pub use event::{Event, Events};
pub use log_line::readable;
pub use text::{Text, bytes, counted, millis, span};

/// Whether to colour what goes to the terminal.
pub fn colour(when: When) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
                && std::io::stdout().is_terminal()
                && std::io::stderr().is_terminal()
        }
    }
}

/// Prints a stream of events until told that there are no more.
#[derive(Debug)]
pub struct Reporter {
    end: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Reporter {
    /// Prints what `events` brings from now on, and what it brought lately.
    pub fn start(events: &Events, output: Output, colour: bool) -> Self {
        let (recent, mut live) = events.subscribe();
        let (end, mut ended) = oneshot::channel();
        let mut printer = Printer::new(output, colour);
        let task = tokio::spawn(async move {
            for event in &recent {
                printer.print(event);
            }
            loop {
                tokio::select! {
                    biased;
                    event = live.recv() => match event {
                        Ok(event) => printer.print(&event),
                        Err(RecvError::Lagged(missed)) => printer.print(&lagged(missed)),
                        Err(RecvError::Closed) => break,
                    },
                    // Polled second, so that all that was emitted before the end is printed.
                    _ = &mut ended => break,
                }
            }
            printer.end();
        });
        Self { end, task }
    }

    /// Prints what is left and returns.
    pub async fn finish(self) {
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}

fn lagged(missed: u64) -> Event {
    Event::Warning {
        message: format!("{missed} lines came faster than they could be shown"),
        hint: Some("cargo xtask logs has them all".to_owned()),
    }
}

/// Events to standard output, in the form asked for.
pub struct Printer {
    form: Form,
}

enum Form {
    Text(Box<Text>),
    Json,
}

impl Printer {
    /// A printer for people or for scripts.
    pub fn new(output: Output, colour: bool) -> Self {
        Self {
            form: match output {
                Output::Text => Form::Text(Box::new(Text::new(colour))),
                Output::Json => Form::Json,
            },
        }
    }

    /// Prints one event. A closed pipe is no reason to fail: the environment goes on.
    pub fn print(&mut self, event: &Event) {
        match &mut self.form {
            Form::Text(text) => text.print(event),
            Form::Json => {
                if let Ok(line) = serde_json::to_string(event) {
                    line_out(&line);
                }
            }
        }
    }

    /// Leaves the terminal as it was.
    pub fn end(&mut self) {
        if let Form::Text(text) = &mut self.form {
            text.end();
        }
    }
}

/// A line on standard output; unlike `println!` it survives a reader that went away.
pub fn line_out(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The last word of a failed command, on standard error: what failed, why, what to do.
pub fn print_error(error: &anyhow::Error, colour: bool) {
    eprint!("{}", error_text(&message(error), hint(error).as_deref(), colour));
}

/// An error and its causes on one line.
pub fn message(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What to do about it, when the error says so.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().filter_map(|e| e.downcast_ref::<Fault>()).find_map(Fault::the_hint).map(str::to_owned)
}

/// An error as it is shown.
pub fn error_text(message: &str, hint: Option<&str>, colour: bool) -> String {
    let (red, cyan, reset) = if colour { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
    let mut text = format!("{red}error{reset}: {message}\n");
    if let Some(hint) = hint {
        let _ = writeln!(text, "{cyan}hint{reset}: {hint}");
    }
    text
}
