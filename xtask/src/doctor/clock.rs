//! The clock: cargo goes by the times of files, certificates by the date.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Finding;
use crate::report::span;

/// File systems and machines that share one differ by less.
const TOLERANCE: Duration = Duration::from_secs(60);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// By so much this program is younger than now.
    pub behind: Option<Duration>,
    /// A source that is younger than now, and by how much: the youngest.
    pub future: Option<(String, Duration)>,
}

impl Facts {
    /// Looks at the program and the sources of the workspace at `root`.
    pub fn gather(program: &Path, root: &Path) -> Self {
        let now = SystemTime::now();
        let ahead = |path: &Path| {
            let modified = path.metadata().and_then(|file| file.modified()).ok()?;
            modified.duration_since(now).ok().filter(|ahead| *ahead > TOLERANCE)
        };
        let files = ignore::Walk::new(root).filter_map(Result::ok);
        let files = files.filter(|file| file.file_type().is_some_and(|kind| kind.is_file()));
        let future = files.filter_map(|file| Some((ahead(file.path())?, file)));
        let youngest = future.max_by_key(|(ahead, _)| *ahead);
        let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        Self { behind: ahead(program), future: youngest.map(|(ahead, file)| (name(file.path()), ahead)) }
    }

    /// Judges.
    pub fn judge(&self) -> Finding {
        let clock = "sudo timedatectl set-ntp true";
        let told = |ahead: Duration| span(u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX));
        match (&self.behind, &self.future) {
            (Some(behind), _) => Finding::problem(
                "clock",
                format!(
                    "it is {} before this program was built: certificates would not be valid yet",
                    told(*behind)
                ),
                clock,
            ),
            (None, Some((file, ahead))) => Finding::warning(
                "clock",
                format!(
                    "{file} was saved {} in the future: cargo would build it anew each time",
                    told(*ahead)
                ),
                format!("touch {file}; and if the clock is wrong: {clock}"),
            ),
            (None, None) => Finding::ok("clock", "ahead of all that was built and saved"),
        }
    }
}
