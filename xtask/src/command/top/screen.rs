//! The terminal: what is told and typed goes to the [`View`], and that is drawn.

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::mpsc;

use super::draw::{FRAME, draw};
use super::view::{Next, View};
use crate::error::Fault;
use crate::process;
use crate::runtime::top::Top;

/// Shows what is told until it ends or somebody quits. Gives what was told at the end; nothing when somebody quit.
pub async fn show(
    mut told: BoxStream<'static, anyhow::Result<Top>>,
    mut view: View,
    colour: bool,
) -> anyhow::Result<Option<Top>> {
    let mut screen = Screen::open()?;
    let mut typed = typed();
    let mut stop = std::pin::pin!(process::told_to_stop());
    loop {
        screen.draw(&mut view, colour)?;
        tokio::select! {
            top = told.next() => {
                let top = top.transpose()?.ok_or_else(super::lost)?;
                if top.last {
                    return Ok(Some(top));
                }
                view.tell(top);
            }
            event = typed.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if view.press(key) == Next::Quit {
                        return Ok(None);
                    }
                }
                // Also when the size has changed: it is asked at each drawing.
                Some(_) => {}
                None => return Ok(None),
            },
            () = &mut stop => return Ok(None),
        }
    }
}

/// What is typed. The thread ends with the process: nothing else wakes it.
fn typed() -> mpsc::Receiver<Event> {
    let (to, typed) = mpsc::channel(64);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if to.blocking_send(event).is_err() {
                return;
            }
        }
    });
    typed
}

/// The whole terminal, given back when this is dropped, and by a hook before a panic is told.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> anyhow::Result<Self> {
        let terminal = ratatui::try_init().map_err(|error| {
            // It may have got half way.
            ratatui::restore();
            Fault::environment(format!("this terminal cannot show a screen: {error}"))
                .hint("cargo xtask top --once")
        })?;
        Ok(Self(terminal))
    }

    fn draw(&mut self, view: &mut View, colour: bool) -> anyhow::Result<()> {
        let size = self.0.size().context("the terminal does not tell its size")?;
        view.fit(size.height.saturating_sub(FRAME).into());
        self.0.draw(|frame| draw(frame, view, colour)).context("cannot write to the terminal")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        // The hook has done so, and once more would put the cursor onto what the panic said.
        if !std::thread::panicking() {
            ratatui::restore();
        }
    }
}
