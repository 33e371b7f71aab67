//! The ingress's port: on both loopbacks, and who has it when it is taken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use crate::error::Fault;

/// Where the ingress listens.
#[derive(Debug)]
pub struct Listeners {
    /// 127.0.0.1.
    pub v4: TcpListener,
    /// `::1`, where the machine has it: curl and browsers resolve `*.localhost` to it first.
    pub v6: Option<TcpListener>,
    /// The port of both.
    pub port: u16,
}

/// Connections that wait while the process is busy; Linux's own limit is 4096.
const BACKLOG: u32 = 1024;

/// Listens on `port` of both loopbacks; 0 takes a port that is free on both. Must be called within a
/// tokio runtime. Errors (environment): the port is taken, with who has it; it needs a privilege.
pub fn bind(port: u16) -> Result<Listeners, Fault> {
    let mut attempts = 0;
    loop {
        let fault = |ip: IpAddr, error: &io::Error| fault(SocketAddr::new(ip, port), error);
        let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listener = listen(SocketAddr::new(v4, port)).map_err(|error| fault(v4, &error))?;
        let taken = listener.local_addr().map_err(|error| fault(v4, &error))?.port();
        let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        match listen(SocketAddr::new(v6, taken)) {
            Ok(v6) => return Ok(Listeners { v4: listener, v6: Some(v6), port: taken }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                attempts += 1;
                // Requests to `foo.localhost` would go to whoever has it, so this is not passed over.
                if port != 0 || attempts == 16 {
                    return Err(fault(v6, &error));
                }
            }
            // A machine without IPv6.
            Err(_) => return Ok(Listeners { v4: listener, v6: None, port: taken }),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port whose last connections still linger can be taken again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn fault(address: SocketAddr, error: &io::Error) -> Fault {
    let what = format!("cannot listen on {address} for the ingress");
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let other = if port == u16::MAX { port - 1 } else { port + 1 };
            let (who, end) = match owner::of(address) {
                Some(owner::Owner::Process { name, pid }) => {
                    (format!("{name} (pid {pid})"), format!("end it (`kill {pid}`)"))
                }
                Some(owner::Owner::OtherUser { uid }) => (
                    format!("a process of another user (uid {uid})"),
                    format!("find it with `sudo ss -ltnp 'sport = :{port}'`"),
                ),
                None => ("another process".to_owned(), format!("find it with `ss -ltnp 'sport = :{port}'`")),
            };
            Fault::environment(format!("{what}: in use by {who}"))
                .hint(format!("take another port (`--port {other}`; `--port 0` for any free one), or {end}"))
        }
        io::ErrorKind::PermissionDenied => {
            Fault::environment(format!("{what}: ports below 1024 need a privilege"))
                .hint("take another port, as `--port 8080`")
        }
        _ => Fault::environment(format!("{what}: {error}")).hint("take another port with `--port`"),
    }
}

/// Who listens on an address, from `/proc`.
mod owner {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::path::Path;

    #[derive(Debug, PartialEq, Eq)]
    pub(super) enum Owner {
        Process {
            name: String,
            pid: u32,
        },
        /// Its open files are not ours to read.
        OtherUser {
            uid: u32,
        },
    }

    /// A line of `/proc/net/tcp` or `tcp6` for a listening socket.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Socket {
        pub(super) address: SocketAddr,
        pub(super) uid: u32,
        pub(super) inode: u64,
    }

    pub(super) fn of(address: SocketAddr) -> Option<Owner> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let sockets: Vec<_> = tables
            .iter()
            .filter_map(|table| std::fs::read_to_string(table).ok())
            .flat_map(|table| table.lines().filter_map(parse).collect::<Vec<_>>())
            .filter(|socket| excludes(socket.address, address))
            .collect();
        let socket = sockets.first()?;
        let process = sockets.iter().find_map(|socket| process_with(socket.inode));
        Some(process.unwrap_or(Owner::OtherUser { uid: socket.uid }))
    }

    /// Whether a listener on `has` keeps others from listening on `wanted`.
    fn excludes(has: SocketAddr, wanted: SocketAddr) -> bool {
        if has.port() != wanted.port() {
            return false;
        }
        match (has.ip(), wanted.ip()) {
            (IpAddr::V4(has), IpAddr::V4(wanted)) => has == wanted || has.is_unspecified(),
            (IpAddr::V6(has), IpAddr::V6(wanted)) => has == wanted || has.is_unspecified(),
            (IpAddr::V6(has), IpAddr::V4(wanted)) => {
                has.is_unspecified() || has.to_ipv4_mapped() == Some(wanted)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }

    /// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...`, addresses as
    /// 32-bit words in the machine's byte order; state 0A is LISTEN (proc(5)).
    pub(super) fn parse(line: &str) -> Option<Socket> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (ip, port) = fields.next()?.split_once(':')?;
        let state = fields.nth(1)?;
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        let word = |at: usize| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
        let ip = match ip.len() {
            8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
            32 => {
                let mut bytes = [0; 16];
                for at in 0..4 {
                    bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
                }
                IpAddr::from(Ipv6Addr::from(bytes))
            }
            _ => return None,
        };
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == "0A").then_some(Socket { address: SocketAddr::new(ip, port), uid, inode })
    }

    fn process_with(inode: u64) -> Option<Owner> {
        let link = format!("socket:[{inode}]");
        let processes = std::fs::read_dir("/proc").ok()?;
        processes.filter_map(Result::ok).find_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let has = std::fs::read_dir(process.path().join("fd"))
                .ok()?
                .filter_map(Result::ok)
                .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == Path::new(&link)));
            let name = || std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            has.then(|| Owner::Process { name: name().trim().to_owned(), pid })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_free_port_is_free_on_both_loopbacks() {
        let listeners = bind(0).unwrap();
        assert_ne!(listeners.port, 0);
        assert_eq!(listeners.v4.local_addr().unwrap().port(), listeners.port);
        if let Some(v6) = listeners.v6 {
            assert_eq!(v6.local_addr().unwrap(), (Ipv6Addr::LOCALHOST, listeners.port).into());
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_reported_with_who_has_it() {
        let holder = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let fault = bind(port).unwrap_err();
        let pid = std::process::id();
        let message = fault.to_string();
        let start = format!("cannot listen on 127.0.0.1:{port} for the ingress: in use by ");
        assert!(message.starts_with(&start), "{message}");
        assert!(message.ends_with(&format!(" (pid {pid})")), "{message}");
        assert!(fault.the_hint().unwrap().contains(&format!("kill {pid}")));
        assert_eq!(crate::error::Exit::of(&fault.into()), crate::error::Exit::Environment);
    }

    #[tokio::test]
    async fn a_listener_on_all_addresses_is_found_too() {
        let holder = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let fault = bind(holder.local_addr().unwrap().port()).unwrap_err();
        assert!(fault.to_string().contains(&format!("pid {}", std::process::id())), "{fault}");
    }

    #[test]
    fn the_kernels_table_is_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 576 1";
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        assert_eq!(owner::parse(line), Some(owner::Socket { address, uid: 1000, inode: 576 }));
        assert_eq!(owner::parse(&line.replace(" 0A ", " 01 ")), None, "not listening");
        let v6 = line.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(owner::parse(&v6).unwrap().address, SocketAddr::from((Ipv6Addr::LOCALHOST, 8080)));
        assert_eq!(owner::parse("  sl  local_address rem_address   st"), None);
    }
}
