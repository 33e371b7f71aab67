use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Identity, Issuer, MeshError, Record, SidecarSpec, Target, admin,
    context::Context,
    drain::Drain,
    inbound::Inbound,
    metrics::Metrics,
    outbound::Outbound,
    record::{RecordSource, Records},
    tls::Credentials,
    trace::Tracer,
};

/// A pod's proxy: what others send to the pod goes through it, and what the pod sends to others.
///
/// Dropping it cuts everything at once; [`Sidecar::drain`] lets what is under way finish.
pub struct Sidecar {
    context: Arc<Context>,
    targets: Mutex<Vec<(TargetKey, Arc<Outbound>)>>,
    _rotation: AbortOnDropHandle<()>,
}

#[derive(PartialEq, Eq)]
struct TargetKey {
    service: String,
    namespace: String,
    port: u16,
    authority: String,
}

impl Sidecar {
    /// Listens on every declared port of the pod's address, on the metrics port, and for every target. Fails if an
    /// address is taken or a certificate cannot be made; nothing is left listening then.
    ///
    /// `policy` is what the pod lets in. A change is in force for the next request, also on connections that are
    /// open; the last value stays in force when the sender is dropped.
    #[expect(clippy::unused_async, reason = "a caller must be in a runtime: tasks are spawned")]
    pub async fn start(
        spec: SidecarSpec,
        issuer: &Issuer,
        policy: watch::Receiver<Arc<policy::inbound::Inbound>>,
    ) -> Result<Self, MeshError> {
        let SidecarSpec {
            workload,
            pod_ip,
            app_ip,
            inbound,
            targets,
            metrics_port,
            faults,
            traces,
            client_address,
        } = spec;
        let credentials = Arc::new(Credentials::new(workload.identity(), issuer)?);
        let tracer = traces.map(|exporter| Tracer::new(exporter, &workload));
        let context = Arc::new(Context {
            workload,
            pod_ip,
            app_ip,
            credentials: credentials.clone(),
            policy,
            faults,
            client_address,
            metrics: Metrics::new(),
            records: Records::new(),
            tracer,
            inbound: Drain::default(),
            outbound: Drain::default(),
        });
        let issuer = issuer.clone();
        let rotation = tokio::spawn(async move { credentials.rotate(issuer).await });
        // From here on an early return drops the sidecar, which closes what is open.
        let sidecar =
            Self { context, targets: Mutex::default(), _rotation: AbortOnDropHandle::new(rotation) };
        for port in inbound {
            Inbound::start(port, &sidecar.context)?;
        }
        if let Some(port) = metrics_port {
            admin::start(port, &sidecar.context)?;
        }
        for target in targets {
            sidecar.listen(target)?;
        }
        Ok(sidecar)
    }

    /// Where the application is to call a target. None if there is no such target.
    pub fn outbound_addr(
        &self,
        service: &str,
        namespace: &str,
        port: u16,
        authority: &str,
    ) -> Option<SocketAddr> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let found = targets.iter().find(|(key, _)| {
            key.service == service
                && key.namespace == namespace
                && key.port == port
                && key.authority == authority
        });
        found.map(|(_, outbound)| outbound.addr())
    }

    /// Listens for one more target and returns where. A target that is there already (same Service, port and
    /// authority) keeps its listener, and this one is ignored.
    #[expect(clippy::unused_async, reason = "a caller must be in a runtime: tasks are spawned")]
    pub async fn add_target(&self, target: Target) -> Result<SocketAddr, MeshError> {
        match self.outbound_addr(&target.service, &target.namespace, target.port, &target.authority) {
            Some(addr) => Ok(addr),
            None => self.listen(target),
        }
    }

    fn listen(&self, target: Target) -> Result<SocketAddr, MeshError> {
        let key = TargetKey {
            service: target.service.clone(),
            namespace: target.namespace.clone(),
            port: target.port,
            authority: target.authority.clone(),
        };
        let outbound = Outbound::start(target, &self.context)?;
        let addr = outbound.addr();
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).push((key, outbound));
        Ok(addr)
    }

    /// The pod's identity.
    pub fn identity(&self) -> &Identity {
        self.context.credentials.identity()
    }

    /// Every request that ends from now on, inbound and outbound. Costs nothing while nobody listens; a listener
    /// that is far behind loses the oldest.
    pub fn records(&self) -> broadcast::Receiver<Arc<Record>> {
        self.context.records.subscribe()
    }

    /// Where its records come from, to listen to them later; it does not keep the sidecar alive.
    pub fn record_source(&self) -> RecordSource {
        self.context.records.source()
    }

    /// The metrics as `/metrics` answers them.
    pub fn metrics(&self) -> String {
        self.context.metrics.render(self.context.credentials.expires())
    }

    /// Stops accepting for the pod, tells peers so (GOAWAY, `Connection: close`) and waits for the requests under
    /// way. The application can call others until that is done; then its connections are drained too. What is
    /// not finished after `grace` is cut. Take the pod out of its Services' endpoints first.
    pub async fn drain(self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.context.inbound.finish(deadline).await;
        self.context.outbound.finish(deadline).await;
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.context.inbound.abort();
        self.context.outbound.abort();
    }
}
