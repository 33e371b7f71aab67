//! Events that come together, until there is silence. Pure, but for what is looked up in [`Seen`].

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use notify::event::{
    AccessKind, AccessMode, CreateKind, Event as FileEvent, EventKind, ModifyKind, RemoveKind, RenameMode,
};

use super::seen::Seen;

/// A burst ends with this much silence: a moved file may come back, a created one is still to be written.
const QUIET: Duration = Duration::from_millis(20);

/// One file that was written and closed, or put in place, is saved: time enough for a second one to show that
/// there are more.
const SAVED: Duration = Duration::from_millis(4);

/// What has happened since the last silence.
#[derive(Debug, Default)]
pub struct Burst {
    /// Where.
    pub paths: BTreeSet<PathBuf>,
    /// Events were lost: the kernel's queue was full.
    pub everything: bool,
    /// Of `paths` those that something more can be expected of.
    unfinished: BTreeSet<PathBuf>,
    /// Files that did not exist before: temporary ones, if they go before the silence.
    made: BTreeSet<PathBuf>,
}

impl Burst {
    /// Nothing relevant has happened.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.everything
    }

    /// How much silence ends it.
    pub fn silence(&self) -> Duration {
        let saved = self.paths.len() == 1 && self.unfinished.is_empty() && !self.everything;
        if saved { SAVED } else { QUIET }
    }

    /// Whether the event is of anything relevant.
    pub fn take(&mut self, event: notify::Result<FileEvent>, seen: &Seen) -> bool {
        let Ok(event) = event else {
            self.everything = true;
            return true;
        };
        self.everything |= event.need_rescan();
        let relevant: Vec<PathBuf> =
            event.paths.iter().filter(|path| seen.is_relevant(path)).cloned().collect();
        let any = !relevant.is_empty() || event.need_rescan();
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => relevant.into_iter().for_each(|path| {
                self.unfinished.remove(&path);
                self.paths.insert(path);
            }),
            // Both ends of a rename, each of which was told before.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
                event.paths.first().into_iter().for_each(|from| self.forget(from));
            }
            EventKind::Create(CreateKind::File) => relevant.into_iter().for_each(|path| {
                if !seen.knows(&path) {
                    self.made.insert(path.clone());
                }
                self.expect(path);
            }),
            EventKind::Remove(RemoveKind::File) => relevant.into_iter().for_each(|path| {
                self.expect(path.clone());
                self.forget(&path);
            }),
            _ => relevant.into_iter().for_each(|path| self.expect(path)),
        }
        any
    }

    /// More is to come of this path.
    fn expect(&mut self, path: PathBuf) {
        self.unfinished.insert(path.clone());
        self.paths.insert(path);
    }

    /// A file is gone from here: it was a temporary one when it came in this burst.
    fn forget(&mut self, path: &PathBuf) {
        if self.made.remove(path) {
            self.unfinished.remove(path);
            self.paths.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use notify::event::DataChange;

    use super::*;
    use crate::watch::relevant::Relevant;

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const MADE: EventKind = EventKind::Create(CreateKind::File);
    const REMOVED: EventKind = EventKind::Remove(RemoveKind::File);
    const FROM: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::From));
    const TO: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    const BOTH: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::Both));

    /// The silence that ends a burst of these, and the files that it is of; `main.rs` and `lib.rs` existed.
    fn burst(events: &[(EventKind, &[&str])]) -> (Duration, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for file in ["main.rs", "lib.rs"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let mut seen = Seen::new(Relevant::new(root, &root.join("target")));
        seen.walk(root, &mut |_| ());
        let mut burst = Burst::default();
        for (kind, paths) in events {
            let event =
                FileEvent { paths: paths.iter().map(|p| root.join(p)).collect(), ..FileEvent::new(*kind) };
            burst.take(Ok(event), &seen);
        }
        let name = |path: &PathBuf| path.strip_prefix(root).unwrap_or(Path::new("?")).display().to_string();
        (burst.silence(), burst.paths.iter().map(name).collect())
    }

    fn of(files: &[&str]) -> Vec<String> {
        files.iter().map(|&file| file.to_owned()).collect()
    }

    #[test]
    fn a_file_is_saved_when_it_is_closed() {
        let (main, written) = (&["main.rs"][..], [(WRITTEN, &["main.rs"][..]), (WRITTEN, &["main.rs"])]);
        assert_eq!(burst(&written), (QUIET, of(main)));
        assert_eq!(burst(&[&written[..], &[(CLOSED, main)]].concat()), (SAVED, of(main)));
    }

    #[test]
    fn a_file_that_is_renamed_over_another_saves_that_one_alone() {
        let ignored = [(MADE, &["main.rs~"][..]), (CLOSED, &["main.rs~"]), (FROM, &["main.rs~"])];
        let renamed = [(TO, &["main.rs"][..]), (BOTH, &["main.rs~", "main.rs"])];
        assert_eq!(burst(&[&ignored[..], &renamed[..]].concat()), (SAVED, of(&["main.rs"])));
        let plain = [(MADE, &["x.tmp"][..]), (WRITTEN, &["x.tmp"]), (CLOSED, &["x.tmp"]), (FROM, &["x.tmp"])];
        assert_eq!(burst(&plain), (QUIET, of(&["x.tmp"])));
        let renamed = [(TO, &["main.rs"][..]), (BOTH, &["x.tmp", "main.rs"])];
        assert_eq!(burst(&[&plain[..], &renamed[..]].concat()), (SAVED, of(&["main.rs"])));
    }

    #[test]
    fn a_file_that_was_moved_away_is_waited_for() {
        let away = [(FROM, &["main.rs"][..]), (TO, &["main.rs~"]), (BOTH, &["main.rs", "main.rs~"])];
        assert_eq!(burst(&away), (QUIET, of(&["main.rs"])));
        let back = [(MADE, &["main.rs"][..]), (WRITTEN, &["main.rs"]), (CLOSED, &["main.rs"])];
        assert_eq!(burst(&[&away[..], &back[..]].concat()), (SAVED, of(&["main.rs"])));
        assert_eq!(burst(&[(REMOVED, &["main.rs"])]), (QUIET, of(&["main.rs"])));
    }

    #[test]
    fn a_known_file_that_goes_is_not_taken_for_a_temporary_one() {
        let moved = [(REMOVED, &["main.rs"][..]), (MADE, &["main.rs"]), (CLOSED, &["main.rs"])];
        let away = [(FROM, &["main.rs"][..]), (TO, &["new.rs"]), (BOTH, &["main.rs", "new.rs"])];
        assert_eq!(burst(&[&moved[..], &away[..]].concat()), (QUIET, of(&["main.rs", "new.rs"])));
        assert_eq!(burst(&[&moved[..], &[(REMOVED, &["main.rs"][..])]].concat()), (QUIET, of(&["main.rs"])));
    }

    #[test]
    fn where_there_are_two_there_may_be_more() {
        assert_eq!(burst(&[(CLOSED, &["main.rs"]), (CLOSED, &["lib.rs"])]).0, QUIET);
        assert_eq!(burst(&[(EventKind::Create(CreateKind::Folder), &["new"])]).0, QUIET);
        assert_eq!(burst(&[(MADE, &["probe"]), (REMOVED, &["probe"]), (CLOSED, &["lib.rs"])]).0, SAVED);
    }
}
