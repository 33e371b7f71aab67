//! Who listens on a port, from `/proc`.

use std::fs;
use std::path::Path;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    /// As `ps` shows it.
    pub name: String,
}

/// The process that listens on this TCP port; none when nobody does, or another user's process, whose
/// open files only root can see.
pub fn of(port: u16) -> Option<Owner> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let links: Vec<String> = tables
        .iter()
        .flat_map(|table| sockets(table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| links.iter().any(|link| target == Path::new(link)))
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Owner { pid, name: name.trim_end().to_owned() })
}

/// The inodes of the listening sockets of a port. Columns as in proc(5): the second is the local address,
/// the fourth the state (0A is LISTEN), the tenth the inode.
fn sockets(table: &str, port: u16) -> Vec<String> {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|columns| columns.len() > 9 && columns[3] == "0A")
        .filter(|columns| {
            columns[1].rsplit(':').next().and_then(|p| u16::from_str_radix(p, 16).ok()) == Some(port)
        })
        .map(|columns| columns[9].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn who_listens_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = super::of(listener.local_addr().unwrap().port()).unwrap();
        assert_eq!(owner.pid, std::process::id());
    }

    #[test]
    fn a_connection_is_not_a_listener() {
        let table = "sl local rem st tx tr ret uid timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 1000 0 4242 1\n\
            1: 0100007F:1F90 0100007F:9C40 01 0:0 00:0 0 1000 0 4343 1\n";
        assert_eq!(super::sockets(table, 8080), ["4242"]);
        assert!(super::sockets(table, 8081).is_empty());
    }
}
