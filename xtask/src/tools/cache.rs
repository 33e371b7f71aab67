//! The cache of fetched programs: one file each, `NAME-VERSION`, shared by all checkouts of a user.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Where fetched programs are kept: `$XDG_CACHE_HOME` or `~/.cache`, `xtask/tools`. None without a home.
pub fn directory() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("xtask/tools"))
}

/// The path of a file that belongs to another: its name with one more extension.
pub fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// The sha256 of a file, as 64 hex digits.
pub async fn sum(path: &Path) -> io::Result<String> {
    let path = path.to_owned();
    let read = move || {
        let mut hash = Sha256::new();
        read_into(&mut File::open(path)?, &mut hash)?;
        Ok(hex(hash))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// Feeds what is left of a file to a hash; how many bytes that was.
pub fn read_into(file: &mut File, hash: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 18];
    let mut count = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(count);
        }
        hash.update(&buffer[..read]);
        count += read as u64;
    }
}

/// A hash as hex digits.
pub fn hex(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}

/// Lets a file be run.
pub fn make_program(path: &Path) -> io::Result<()> {
    if path.metadata()?.permissions().mode() & 0o111 == 0o111 {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// Makes a checked file a program and puts it in its place, whole or not at all.
pub fn put(part: &Path, path: &Path) -> io::Result<()> {
    make_program(part)?;
    File::open(part)?.sync_all()?;
    std::fs::rename(part, path)
}

/// Held while a file of the cache is fetched; the kernel frees it, however its holder ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl Lock {
    /// Takes the lock of a file of the cache. Calls `waiting` when another process has it, and waits.
    pub async fn take(path: &Path, waiting: impl FnOnce()) -> io::Result<Self> {
        let path = beside(path, "lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => return Ok(Self(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => waiting(),
        }
        let wait = move || file.lock().map(|()| Self(file));
        tokio::task::spawn_blocking(wait).await.map_err(io::Error::other)?
    }
}
