//! Which loopback addresses are this run's: a block of its own, so that several checkouts and users can be up
//! at once, and a fresh address for each pod and Service in it.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Fault;

/// The second byte of the blocks: `127.16.0.0/16` to `127.250.0.0/16`.
const BLOCKS: std::ops::RangeInclusive<u8> = 16..=250;

/// Whoever listens here has the block. (Linkerd's proxy has its admin endpoints near, at 4191.)
const CLAIM: u16 = 4190;

/// Pods have `127.N.1.0` to `127.N.127.255`, applications behind sidecars the upper half.
const PODS: std::ops::Range<u16> = 0x0100..0x8000;

/// Whence the kubelet probes: an address of this host's that nothing else connects from, so that probes can be told
/// from calls.
pub const KUBELET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// This run's addresses, `127.N.0.0/16`. Clones share it. The claim is a listening socket: atomic, seen across
/// users, and the kernel frees it however this process ends.
#[derive(Clone, Debug)]
pub struct Block(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: u8,
    _claim: TcpListener,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    leases: HashSet<u16>,
    next_pod: u16,
}

/// An address that is given back when this is dropped.
#[derive(Debug)]
pub struct Lease {
    block: Block,
    low: u16,
}

impl Block {
    /// Claims a free block; the same checkout mostly gets the same one. Errors when all are taken.
    pub fn claim(workspace: &Path) -> Result<Self, Fault> {
        let first = fnv1a(workspace.as_os_str().as_encoded_bytes());
        let count = u64::from(BLOCKS.end() - BLOCKS.start()) + 1;
        for offset in 0..count {
            // Below `count`, which is below 256.
            let number = BLOCKS.start() + u8::try_from((first + offset) % count).unwrap_or(0);
            if let Ok(claim) = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::new(127, number, 0, 1), CLAIM)) {
                let taken = Taken { leases: HashSet::new(), next_pod: PODS.start };
                return Ok(Self(Arc::new(Inner { number, _claim: claim, taken: Mutex::new(taken) })));
            }
        }
        Err(Fault::environment(format!(
            "every block of loopback addresses from 127.{}.0.0/16 to 127.{}.0.0/16 is taken",
            BLOCKS.start(),
            BLOCKS.end()
        ))
        .hint(format!("see who listens on port {CLAIM}: ss -ltnp 'sport = :{CLAIM}'")))
    }

    /// The lowest free `127.N.0.x` for a Service. None when all 253 are in use.
    pub fn service(&self) -> Option<Lease> {
        self.take(|taken| (2..=254).find(|low| !taken.leases.contains(low)))
    }

    /// An address for a pod: the next after the last one given, so that none is reused soon.
    pub fn pod(&self) -> Option<Lease> {
        self.take(|taken| {
            for _ in PODS {
                taken.next_pod = if taken.next_pod + 1 == PODS.end { PODS.start } else { taken.next_pod + 1 };
                // Not `.0` or `.255`: people take these for networks.
                if !matches!(taken.next_pod & 0xff, 0 | 0xff) && !taken.leases.contains(&taken.next_pod) {
                    return Some(taken.next_pod);
                }
            }
            None
        })
    }

    /// An address for an application behind a sidecar: at random, since nothing but the sidecar is told it.
    pub fn hidden(&self) -> Option<Lease> {
        self.take(|taken| {
            (0..64)
                .map(|_| 0x8000 | u16::try_from(random() & 0x7fff).unwrap_or(0))
                .find(|low| !matches!(low & 0xff, 0 | 0xff) && !taken.leases.contains(low))
        })
    }

    fn take(&self, choose: impl FnOnce(&mut Taken) -> Option<u16>) -> Option<Lease> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let low = choose(&mut taken)?;
        taken.leases.insert(low);
        Some(Lease { block: self.clone(), low })
    }
}

impl Lease {
    /// The address.
    pub fn ip(&self) -> Ipv4Addr {
        let [third, fourth] = self.low.to_be_bytes();
        Ipv4Addr::new(127, self.block.0.number, third, fourth)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.block.0.taken.lock().unwrap_or_else(PoisonError::into_inner).leases.remove(&self.low);
    }
}

/// The port that a Service's port is served at: below 1024 an ordinary user may not listen, so these move up
/// by 10000. The same for everybody, whatever `ip_unprivileged_port_start` says here.
pub fn served_port(port: u16) -> u16 {
    if port < 1024 { port + 10_000 } else { port }
}

/// The address that a client would have in a cluster, so that policies decide there as here: a pod's
/// `127.N.a.b` is `10.244.a.b` (kind's network of pods), and `127.0.0.0/16`, which is this host, `172.18.0.1`
/// (kind's network of nodes). Others are what they are.
pub fn cluster_address(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) if address.is_loopback() => match address.octets() {
            [_, 0, ..] => Ipv4Addr::new(172, 18, 0, 1).into(),
            [_, _, third, fourth] => Ipv4Addr::new(10, 244, third, fourth).into(),
        },
        address if address.is_loopback() => Ipv4Addr::new(172, 18, 0, 1).into(),
        address => address,
    }
}

/// A number nobody can foretell; the standard library seeds its hash maps from the system's randomness.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// FNV-1a: short, and the same in every build of this program.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_of_one_checkout_have_different_blocks() {
        let one = Block::claim(Path::new("/checkout")).unwrap();
        let other = Block::claim(Path::new("/checkout")).unwrap();
        assert_ne!(one.0.number, other.0.number);
    }

    #[test]
    fn a_pods_address_is_not_reused_soon() {
        let block = Block::claim(Path::new("/reuse")).unwrap();
        let first = block.pod().unwrap().ip();
        for _ in 0..1000 {
            assert_ne!(block.pod().unwrap().ip(), first);
        }
    }

    #[test]
    fn addresses_in_use_differ() {
        let block = Block::claim(Path::new("/differ")).unwrap();
        let leases: Vec<_> = (0..200)
            .flat_map(|_| [block.service(), block.pod(), block.hidden()])
            .map(Option::unwrap)
            .collect();
        let distinct: HashSet<_> = leases.iter().map(Lease::ip).collect();
        assert_eq!(distinct.len(), leases.len());
        assert!(leases.iter().all(|l| l.ip().octets()[..2] == [127, block.0.number]));
    }

    #[test]
    fn policies_see_the_address_that_a_client_would_have_in_a_cluster() {
        let seen = |client: &str| cluster_address(client.parse().unwrap()).to_string();
        for (client, cluster) in [
            ("127.16.1.7", "10.244.1.7"),
            ("127.250.127.254", "10.244.127.254"),
            ("127.0.0.1", "172.18.0.1"),
            ("127.0.200.3", "172.18.0.1"),
            ("::1", "172.18.0.1"),
            ("::ffff:127.16.1.7", "10.244.1.7"),
            ("192.168.1.5", "192.168.1.5"),
            ("fd00::5", "fd00::5"),
        ] {
            assert_eq!(seen(client), cluster, "{client}");
        }
    }

    #[test]
    fn no_client_is_taken_for_the_pod_itself() {
        let block = Block::claim(Path::new("/localhost")).unwrap();
        for lease in [block.pod(), block.hidden(), block.service()].map(Option::unwrap) {
            assert!(!cluster_address(lease.ip().into()).is_loopback());
        }
    }

    #[test]
    fn privileged_ports_are_served_ten_thousand_up() {
        assert_eq!([80, 443, 1023, 1024, 9090].map(served_port), [10_080, 10_443, 11_023, 1024, 9090]);
    }
}
