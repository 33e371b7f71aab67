//! A running `up`: the lock that makes it the only one of its checkout, its control socket, and how
//! other commands reach it.

mod attach;
mod host;
mod lock;

pub use attach::{Session, attach, find, nothing_is_up};
pub use host::{Host, StopRequests};
pub use lock::{Holder, Lock};

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// A path to a socket that fits `sockaddr_un`'s 108 bytes however deep the checkout is: by way of its
/// directory's descriptor, which must stay open while the path is used.
fn short_path(socket: &Path) -> std::io::Result<(File, PathBuf)> {
    let directory = File::open(socket.parent().unwrap_or(Path::new(".")))?;
    let name = socket.file_name().unwrap_or_default();
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    Ok((directory, path))
}
