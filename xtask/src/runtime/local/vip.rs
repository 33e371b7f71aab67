//! A Service's address: an L4 proxy that picks a ready pod **per connection**, as kube-proxy does. This is why a
//! gRPC client without a mesh stays with one pod.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh::Endpoint;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use super::address::random;
use super::connections::Connections;
use super::endpoints::Watch;

/// One served Service port. Dropped, it takes no new connections; those it carries go on until they end.
#[derive(Debug)]
pub struct Vip {
    addr: SocketAddr,
    accepting: AbortHandle,
}

impl Vip {
    /// Serves `addr`. Errors when it cannot be listened on.
    pub fn start(addr: SocketAddr, endpoints: Watch) -> io::Result<Self> {
        Self::known(addr, endpoints, Connections::default())
    }

    /// The same; what it carries is among `connections`.
    pub fn known(addr: SocketAddr, endpoints: Watch, connections: Connections) -> io::Result<Self> {
        // Tried once here, so that an address that is taken is known before anything starts.
        drop(listen(addr)?);
        let accepting = tokio::spawn(serve(addr, endpoints, connections)).abort_handle();
        Ok(Self { addr, accepting })
    }

    /// Where it is served.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Vip {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(1024)
}

/// Listens while there are endpoints: without any, a connection is refused, as by kube-proxy's REJECT rule.
async fn serve(addr: SocketAddr, mut endpoints: Watch, connections: Connections) {
    loop {
        if endpoints.wait_for(|endpoints| !endpoints.is_empty()).await.is_err() {
            return;
        }
        match listen(addr) {
            Ok(listener) => accept(&listener, &mut endpoints, &connections).await,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Takes connections until there are no endpoints.
async fn accept(listener: &TcpListener, endpoints: &mut Watch, connections: &Connections) {
    loop {
        tokio::select! {
            // Readiness first: a connection is never given to a pod that has just left.
            biased;
            changed = endpoints.changed() => {
                if changed.is_err() || endpoints.borrow_and_update().is_empty() {
                    return;
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((client, from)) => {
                    let chosen = pick(&endpoints.borrow());
                    let known = chosen.map(|pod| connections.carry(from, pod));
                    tokio::spawn(async move {
                        carry(client, chosen).await;
                        drop(known);
                    });
                }
                // Out of files, most likely: the connection stays in the queue meanwhile.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// Any endpoint with the same chance: `-m statistic --mode random` in kube-proxy's iptables mode, `numgen
/// random` in its nftables mode.
fn pick(endpoints: &Arc<[Endpoint]>) -> Option<SocketAddr> {
    let count = u64::try_from(endpoints.len()).ok().filter(|count| *count > 0)?;
    usize::try_from(random() % count).ok().map(|index| endpoints[index].addr)
}

/// Copies both ways, each half closed when its source is. When no pod answers, the client's connection is
/// reset: kube-proxy does not try another.
async fn carry(mut client: TcpStream, chosen: Option<SocketAddr>) {
    let pod = match chosen {
        Some(addr) => TcpStream::connect(addr).await.ok(),
        None => None,
    };
    let Some(mut pod) = pod else {
        // A reset rather than an orderly end, as a refused connection would give.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), pod.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut pod, 32 * 1024, 32 * 1024).await;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;
    use std::path::Path;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::watch;

    use super::super::address::Block;
    use super::super::endpoints::tests::workload;
    use super::*;

    /// A server that answers each connection's bytes with its own name after the client's half is closed.
    async fn named(name: &'static str) -> Endpoint {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut said = Vec::new();
                    stream.read_to_end(&mut said).await.unwrap();
                    said.extend_from_slice(name.as_bytes());
                    stream.write_all(&said).await.unwrap();
                });
            }
        });
        Endpoint { addr, workload: workload(name), identity: None, opaque: false }
    }

    async fn say(stream: &mut TcpStream, what: &str) -> String {
        stream.write_all(what.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn vip(endpoints: Vec<Endpoint>) -> (Vip, watch::Sender<Arc<[Endpoint]>>, Block) {
        let block = Block::claim(Path::new("/vip")).unwrap();
        let (sender, watch) = watch::channel(Arc::from(endpoints));
        let vip = Vip::start(SocketAddr::from((block.service().unwrap().ip(), 18_080)), watch).unwrap();
        (vip, sender, block)
    }

    async fn connect(vip: &Vip) -> TcpStream {
        loop {
            if let Ok(stream) = TcpStream::connect(vip.addr()).await {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn connections_spread_over_the_pods_and_half_closes_pass() {
        let (vip, _sender, _block) = vip(vec![named("a").await, named("b").await, named("c").await]);
        let mut counts = HashMap::<String, u32>::new();
        for _ in 0..120 {
            *counts.entry(say(&mut connect(&vip).await, "I am ").await).or_default() += 1;
        }
        assert_eq!(counts.len(), 3, "{counts:?}");
        assert!(counts.values().all(|count| *count > 12), "{counts:?}");
    }

    #[tokio::test]
    async fn a_connection_stays_with_its_pod_after_the_pod_has_left() {
        let (vip, sender, _block) = vip(vec![named("old").await]);
        let mut pinned = connect(&vip).await;
        pinned.write_all(b"first ").await.unwrap();
        // Only once its bytes move is it surely given to the pod.
        let mut fresh = connect(&vip).await;
        assert_eq!(say(&mut fresh, "").await, "old");
        sender.send_replace(Arc::from([named("new").await]));
        assert_eq!(say(&mut connect(&vip).await, "").await, "new");
        assert_eq!(say(&mut pinned, "then ").await, "first then old");
    }

    #[tokio::test]
    async fn without_endpoints_a_connection_is_refused() {
        let (vip, sender, _block) = vip(vec![named("a").await]);
        connect(&vip).await;
        sender.send_replace(Arc::new([]));
        loop {
            // One that was in the queue as the listener closed is reset; from then on all are refused.
            match TcpStream::connect(vip.addr()).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
                Ok(_) => {}
            }
            tokio::task::yield_now().await;
        }
        sender.send_replace(Arc::from([named("b").await]));
        assert_eq!(say(&mut connect(&vip).await, "").await, "b");
    }
}
