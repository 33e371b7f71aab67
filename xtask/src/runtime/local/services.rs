//! The Services' own addresses: an L4 proxy for each port, at an address of the run's block.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::address::{Block, Lease, served_port};
use super::connections::Connections;
use super::endpoints::{ServiceName, ServiceSpec, ServiceTable};
use super::vip::Vip;

/// Where Services are served. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ServiceAddresses {
    served: Arc<Mutex<BTreeMap<ServiceName, Served>>>,
    connections: Connections,
}

#[derive(Debug)]
struct Served {
    lease: Lease,
    ports: BTreeMap<u16, Vip>,
}

impl ServiceAddresses {
    /// Serves a Service's ports and takes it into the table; ports that stay are not touched. Errors when
    /// no address is left or one cannot be listened on.
    pub fn serve(
        &self,
        block: &Block,
        table: &ServiceTable,
        name: &ServiceName,
        spec: ServiceSpec,
    ) -> Result<(), String> {
        let wanted: Vec<u16> = spec.ports.keys().copied().collect();
        table.set_service(name.clone(), spec);
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if !served.contains_key(name) {
            let lease = block.service().ok_or("no loopback address is left for another Service")?;
            served.insert(name.clone(), Served { lease, ports: BTreeMap::new() });
        }
        let Some(service) = served.get_mut(name) else { return Ok(()) };
        service.ports.retain(|port, _| wanted.contains(port));
        for port in wanted {
            let Some(endpoints) = table.subscribe(&name.1, &name.0, port) else { continue };
            if !service.ports.contains_key(&port) {
                let addr = SocketAddr::from((service.lease.ip(), served_port(port)));
                let vip = Vip::known(addr, endpoints, self.connections.clone())
                    .map_err(|e| format!("cannot listen on {addr}: {e}"))?;
                service.ports.insert(port, vip);
            }
        }
        Ok(())
    }

    /// Serves only these Services from now on.
    pub fn keep(&self, table: &ServiceTable, names: &[ServiceName]) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| {
            let kept = names.contains(name);
            if !kept {
                table.remove_service(name);
            }
            kept
        });
    }

    /// The connections that all of them carry.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Where a Service's port is served.
    pub fn address(&self, service: &str, namespace: &str, port: u16) -> Option<SocketAddr> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        Some(served.get(&(namespace.to_owned(), service.to_owned()))?.ports.get(&port)?.addr())
    }
}
