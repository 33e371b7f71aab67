//! The connections that Services' addresses carry: which pod each was given to, and whose it is. Without sidecars this
//! is all that is known of who reaches whom, and it is what pins a gRPC client to a pod.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::runtime::PodStatus;
use crate::runtime::stat::OpenConnections;

/// Each client's address, and the pod that its connection was given to. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>);

/// A connection that is carried, until this is dropped.
#[derive(Debug)]
pub struct Carried {
    table: Connections,
    client: SocketAddr,
}

impl Connections {
    /// One more, from a client to a pod.
    pub fn carry(&self, client: SocketAddr, pod: SocketAddr) -> Carried {
        self.locked().insert(client, pod);
        Carried { table: self.clone(), client }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<SocketAddr, SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those between these pods. Asks the kernel whose each is; what is of no pod is left out.
    pub fn between(&self, pods: &[PodStatus]) -> Vec<OpenConnections> {
        let carried: Vec<_> = self.locked().iter().map(|(client, pod)| (*client, *pod)).collect();
        let sockets = sockets(&std::fs::read_to_string("/proc/net/tcp").unwrap_or_default());
        let owners = owners(pods);
        let mut counts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for (client, to) in carried {
            let source = sockets.get(&client).and_then(|inode| owners.get(inode));
            let destination = pods.iter().position(|own| own.ip == to.ip().to_string());
            if let Some((source, destination)) = source.zip(destination) {
                *counts.entry((*source, destination)).or_default() += 1;
            }
        }
        let told = |((source, destination), open): ((usize, usize), u64)| {
            let (source, destination) = (&pods[source], &pods[destination]);
            OpenConnections {
                source: source.name.clone(),
                source_deployment: source.deployment.clone(),
                destination: destination.name.clone(),
                destination_deployment: destination.deployment.clone(),
                open,
            }
        };
        counts.into_iter().map(told).collect()
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.table.locked().remove(&self.client);
    }
}

/// The pod, by its place in `pods`, of each socket that its process has open, by inode.
fn owners(pods: &[PodStatus]) -> HashMap<String, usize> {
    let mut owners = HashMap::new();
    for (at, pod) in pods.iter().enumerate() {
        let Some(pid) = pod.pid else { continue };
        // It may have just ended.
        let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for link in open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()) {
            let inode = link.to_str().and_then(|link| link.strip_prefix("socket:["));
            owners.extend(inode.map(|inode| (inode.trim_end_matches(']').to_owned(), at)));
        }
    }
    owners
}

/// The inode of each socket, by its own address, of `/proc/net/tcp` (proc(5)).
fn sockets(table: &str) -> HashMap<SocketAddr, String> {
    let socket = |line: &str| {
        let mut fields = line.split_whitespace();
        let (address, port) = fields.nth(1)?.split_once(':')?;
        // In the order of this machine's bytes.
        let address = Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes());
        let port = u16::from_str_radix(port, 16).ok()?;
        Some((SocketAddr::from((address, port)), fields.nth(7)?.to_owned()))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::report::event::PodState;

    #[tokio::test]
    async fn a_connection_is_of_the_process_that_has_it_until_it_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let pod = |name: &str, ip: &str, pid: Option<u32>| PodStatus {
            name: format!("{name}-1-a"),
            deployment: name.into(),
            state: PodState::Ready,
            reason: String::new(),
            restarts: 0,
            ip: ip.into(),
            pid,
            image: String::new(),
            meshed: false,
            age_seconds: 1,
        };
        // This process is foo.
        let pods = [pod("foo", "127.9.9.1", Some(std::process::id())), pod("baz", "127.9.9.2", None)];
        let connections = Connections::default();
        let to_baz = connections.carry(client.local_addr().unwrap(), "127.9.9.2:9090".parse().unwrap());
        let told: Vec<_> = connections
            .between(&pods)
            .into_iter()
            .map(|own| (own.source_deployment, own.destination, own.open))
            .collect();
        assert_eq!(told, [("foo".to_owned(), "baz-1-a".to_owned(), 1)]);
        drop(to_baz);
        assert_eq!(connections.between(&pods), []);
    }
}
