//! A step of bringing up, changing or taking down, from its start to its end.

use std::time::Instant;

use super::{Event, Events, millis};

/// A step under way; its end is told with the time that it took.
pub struct Step<'a> {
    events: &'a Events,
    name: &'static str,
    start: Instant,
}

impl<'a> Step<'a> {
    /// Begins.
    pub fn start(events: &'a Events, step: &'static str) -> Self {
        events.emit(Event::StepStarted { step: step.to_owned() });
        Self { events, name: step, start: Instant::now() }
    }

    /// It ended well; `detail` is a short remark.
    pub fn finish(self, detail: String) {
        let ms = millis(self.start.elapsed());
        self.events.emit(Event::StepFinished { step: self.name.to_owned(), ms, detail });
    }

    /// It failed; why is told as an error.
    pub fn fail(self) {
        self.events.emit(Event::StepFailed { step: self.name.to_owned(), ms: millis(self.start.elapsed()) });
    }
}
