//! Probes as a kubelet runs them, with one difference: until a probe has first passed it is also tried early,
//! a millisecond after the first try and then ever less often, so that a service that is up in 5 ms is ready in
//! 7, and one that is up in 100 ms in 125. An early try that fails counts for nothing.
//!
//! Source of the rules: `pkg/kubelet/prober/worker.go` and `pkg/probe` of Kubernetes 1.34.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::address::KUBELET;

/// The wait between the first try and the first early one; each next wait is longer.
const EARLY: Duration = Duration::from_millis(1);

/// A container's probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// Holds the others back until it has passed; when it fails the container is restarted.
    pub startup: Option<Probe>,
    /// Whether the pod is an endpoint. Without one it is as soon as it has started.
    pub readiness: Option<Probe>,
    /// When it fails the container is restarted.
    pub liveness: Option<Probe>,
}

/// One probe, Kubernetes' defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub check: Check,
    /// How long after the container's start the first try is made.
    pub initial_delay: Duration,
    /// How often.
    pub period: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// So many successes in a row after a failure make it pass.
    pub success_threshold: u32,
    /// So many failures in a row make it fail.
    pub failure_threshold: u32,
    /// The grace period of a restart that this probe caused, when not the pod's.
    pub grace: Option<Duration>,
}

/// What a probe asks. The port is one of the pod's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// GET; a status from 200 to 399 passes.
    Http {
        /// The port.
        port: u16,
        /// With its leading slash.
        path: String,
        /// Sent beside a kubelet's own.
        headers: Vec<(String, String)>,
    },
    /// A connection can be made.
    Tcp {
        /// The port.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check` answers SERVING.
    Grpc {
        /// The port.
        port: u16,
        /// The service asked about; empty for the server as a whole.
        service: String,
    },
}

/// What the probes of one container have found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is ready from now on.
    Ready,
    /// It is not, and why: `readiness probe: /readyz gave 503`.
    NotReady(String),
    /// It has to be restarted: why, and the grace period when it is the probe's own.
    Restart(String, Option<Duration>),
    /// A try failed that changes nothing yet.
    Failing(String),
}

/// Probes a container that has just started until dropped, and tells what changes. The state at the start is
/// not ready.
pub async fn watch(probes: &Probes, ip: Ipv4Addr, found: mpsc::Sender<Finding>) {
    watch_with(probes, &|check, limit| attempt(ip, check, limit), found).await;
}

async fn watch_with<F: Future<Output = Result<(), String>>>(
    probes: &Probes,
    attempt: &impl Fn(Check, Duration) -> F,
    found: mpsc::Sender<Finding>,
) {
    let start = Instant::now();
    if let Some(startup) = &probes.startup {
        let mut cadence = Cadence::new(startup, start, true);
        let mut count = Count::new(startup, false);
        loop {
            let counts = cadence.next().await;
            let outcome = attempt(startup.check.clone(), startup.timeout).await;
            match &outcome {
                Ok(()) => cadence.passed = true,
                Err(why) => drop(found.send(Finding::Failing(format!("startup probe: {why}"))).await),
            }
            match count.note(outcome.is_ok(), counts) {
                Some(true) => break,
                Some(false) => {
                    let why = format!("startup probe failed: {}", outcome.err().unwrap_or_default());
                    let _ = found.send(Finding::Restart(why, startup.grace)).await;
                    return;
                }
                None => {}
            }
        }
    }
    let readiness = async {
        let Some(probe) = &probes.readiness else {
            let _ = found.send(Finding::Ready).await;
            return;
        };
        let mut cadence = Cadence::new(probe, start, true);
        let mut count = Count::new(probe, false);
        loop {
            let counts = cadence.next().await;
            let outcome = attempt(probe.check.clone(), probe.timeout).await;
            cadence.passed |= outcome.is_ok();
            let changed = count.note(outcome.is_ok(), counts);
            let why = format!("readiness probe: {}", outcome.err().unwrap_or_default());
            let finding = match changed {
                Some(true) => Finding::Ready,
                Some(false) => Finding::NotReady(why),
                None if !count.state => Finding::Failing(why),
                None => continue,
            };
            if found.send(finding).await.is_err() {
                return;
            }
        }
    };
    let liveness = async {
        let Some(probe) = &probes.liveness else { return };
        let mut cadence = Cadence::new(probe, start, false);
        let mut count = Count::new(probe, true);
        loop {
            let counts = cadence.next().await;
            let outcome = attempt(probe.check.clone(), probe.timeout).await;
            if count.note(outcome.is_ok(), counts) == Some(false) {
                let why = format!("liveness probe failed: {}", outcome.err().unwrap_or_default());
                let _ = found.send(Finding::Restart(why, probe.grace)).await;
                return;
            }
        }
    };
    tokio::join!(readiness, liveness);
}

/// When the tries are made.
#[derive(Debug)]
struct Cadence {
    period: Duration,
    /// The next regular try.
    regular: Instant,
    /// The wait before the next early try; zero before the first regular one.
    early: Duration,
    passed: bool,
}

impl Cadence {
    fn new(probe: &Probe, start: Instant, early: bool) -> Self {
        let regular = (start + probe.initial_delay).max(Instant::now());
        Self { period: probe.period, regular, early: Duration::ZERO, passed: !early }
    }

    /// Waits for the next try; true when it is a regular one.
    async fn next(&mut self) -> bool {
        let now = Instant::now();
        if !self.passed && !self.early.is_zero() && now + self.early < self.regular {
            sleep_until(now + self.early).await;
            self.early = self.early.mul_f64(1.25);
            return false;
        }
        sleep_until(self.regular).await;
        self.early = self.early.max(EARLY);
        // As a ticker: a slow answer delays no later try, and missed ones are dropped.
        let now = Instant::now();
        while self.regular <= now {
            self.regular += self.period;
        }
        true
    }
}

/// Successes and failures in a row against the thresholds.
#[derive(Debug)]
struct Count {
    success_threshold: u32,
    failure_threshold: u32,
    state: bool,
    row: u32,
    last: Option<bool>,
}

impl Count {
    fn new(probe: &Probe, state: bool) -> Self {
        Self {
            success_threshold: probe.success_threshold,
            failure_threshold: probe.failure_threshold,
            state,
            row: 0,
            last: None,
        }
    }

    /// Takes one outcome; says so when it changes the state (for a failure: also when the state was failed
    /// already and the threshold is reached again). A failure that does not count changes nothing.
    fn note(&mut self, passed: bool, counts: bool) -> Option<bool> {
        if !passed && !counts {
            return None;
        }
        self.row = if self.last == Some(passed) { self.row + 1 } else { 1 };
        self.last = Some(passed);
        let threshold = if passed { self.success_threshold } else { self.failure_threshold };
        if self.row < threshold || (passed && self.state) || (!passed && self.row > threshold) {
            return None;
        }
        self.state = passed;
        Some(passed)
    }
}

/// One try. Errors say what was seen: `/readyz gave 503`.
async fn attempt(ip: Ipv4Addr, check: Check, limit: Duration) -> Result<(), String> {
    let what = match &check {
        Check::Http { port, path, .. } => format!("GET :{port}{path}"),
        Check::Tcp { port } => format!("connection to :{port}"),
        Check::Grpc { port, service } => format!("grpc health check of {service:?} at :{port}"),
    };
    let outcome = async {
        match check {
            Check::Http { port, path, headers } => http(SocketAddrV4::new(ip, port), &path, &headers).await,
            Check::Tcp { port } => connect(SocketAddrV4::new(ip, port)).await.map(drop),
            Check::Grpc { port, service } => grpc(SocketAddrV4::new(ip, port), service).await,
        }
    };
    match timeout(limit, outcome).await {
        Ok(outcome) => outcome.map_err(|why| format!("{what} {why}")),
        Err(_) => Err(format!("{what} took longer than {limit:?}")),
    }
}

async fn connect(addr: SocketAddrV4) -> Result<TcpStream, String> {
    let connect = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddrV4::new(KUBELET, 0).into())?;
        socket.connect(addr.into()).await
    };
    connect.await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "was refused".into(),
        _ => format!("failed: {error}"),
    })
}

async fn http(addr: SocketAddrV4, path: &str, headers: &[(String, String)]) -> Result<(), String> {
    let stream = connect(addr).await?;
    let failed = |error: hyper::Error| format!("failed: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut request = http::Request::get(path);
    let named = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    if !named("host") {
        request = request.header("host", addr.to_string());
    }
    if !named("user-agent") {
        request = request.header("user-agent", "kube-probe/1.34");
    }
    if !named("accept") {
        request = request.header("accept", "*/*");
    }
    request = request.header("connection", "close");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|e| format!("is not a request: {e}"))?;
    let answer = async { sender.send_request(request).await.map_err(failed) };
    let status = tokio::select! {
        answer = answer => answer?.status(),
        Err(error) = connection => return Err(failed(error)),
    };
    if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(format!("gave {}", status.as_u16())) }
}

async fn grpc(addr: SocketAddrV4, service: String) -> Result<(), String> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}"))
        .map_err(|error| error.to_string())?
        .user_agent("kube-probe/1.34")
        .map_err(|error| error.to_string())?
        .local_address(Some(KUBELET.into()))
        .connect()
        .await
        .map_err(|_| "was refused".to_owned())?;
    let answer = HealthClient::new(channel)
        .check(HealthCheckRequest { service })
        .await
        .map_err(|status| format!("gave {:?}: {}", status.code(), status.message()))?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("gave {}", other.as_str_name())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn probe(failure_threshold: u32) -> Probe {
        Probe {
            check: Check::Tcp { port: 1 },
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold,
            grace: None,
        }
    }

    /// Runs the probes against a check that says what `up` says, for so long of the paused clock.
    async fn findings(probes: Probes, up: &AtomicBool, duration: Duration) -> Vec<(u64, Finding)> {
        let (tx, mut rx) = mpsc::channel(16);
        let start = Instant::now();
        let attempt = |_, _| async { if up.load(Ordering::SeqCst) { Ok(()) } else { Err("no".to_owned()) } };
        let found = Mutex::new(Vec::new());
        let collect = async {
            while let Some(finding) = rx.recv().await {
                if !matches!(finding, Finding::Failing(_)) {
                    found.lock().unwrap().push((start.elapsed().as_secs(), finding));
                }
            }
        };
        let both = async { tokio::join!(watch_with(&probes, &attempt, tx), collect) };
        let _ = timeout(duration, both).await;
        found.into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_is_up_soon_is_ready_soon() {
        let up = AtomicBool::new(false);
        let probes = Probes { readiness: Some(probe(3)), ..Probes::default() };
        let flip = async {
            tokio::time::sleep(Duration::from_millis(40)).await;
            up.store(true, Ordering::SeqCst);
        };
        let (found, ()) = tokio::join!(findings(probes, &up, Duration::from_secs(1)), flip);
        assert_eq!(found, [(0, Finding::Ready)]);
    }

    #[tokio::test(start_paused = true)]
    async fn early_failures_do_not_count() {
        let up = AtomicBool::new(false);
        let probes = Probes { startup: Some(probe(3)), ..Probes::default() };
        let found = findings(probes, &up, Duration::from_secs(60)).await;
        assert_eq!(found, [(20, Finding::Restart("startup probe failed: no".into(), None))]);
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_is_lost_after_the_threshold_and_comes_back() {
        let up = AtomicBool::new(true);
        let probes = Probes { readiness: Some(probe(3)), ..Probes::default() };
        let flip = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            up.store(false, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(30)).await;
            up.store(true, Ordering::SeqCst);
        };
        let (found, ()) = tokio::join!(findings(probes, &up, Duration::from_secs(60)), flip);
        let not_ready = Finding::NotReady("readiness probe: no".into());
        assert_eq!(found, [(0, Finding::Ready), (30, not_ready), (40, Finding::Ready)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_container_is_restarted_but_not_while_it_starts() {
        let up = AtomicBool::new(false);
        let starting = Probes { startup: Some(probe(30)), liveness: Some(probe(1)), ..Probes::default() };
        assert_eq!(findings(starting, &up, Duration::from_secs(100)).await, []);
        let running = Probes { liveness: Some(probe(2)), ..Probes::default() };
        let found = findings(running, &up, Duration::from_secs(100)).await;
        let restart = Finding::Restart("liveness probe failed: no".into(), None);
        assert_eq!(found, [(0, Finding::Ready), (10, restart)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_initial_delay_holds_early_tries_back_too() {
        let tries = AtomicU32::new(0);
        let delayed = Probe { initial_delay: Duration::from_secs(5), ..probe(3) };
        let (tx, _rx) = mpsc::channel(1024);
        let attempt = |_, _| async {
            tries.fetch_add(1, Ordering::SeqCst);
            Err(String::new())
        };
        let probes = Probes { readiness: Some(delayed), ..Probes::default() };
        let _ = timeout(Duration::from_secs(4), watch_with(&probes, &attempt, tx.clone())).await;
        assert_eq!(tries.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn an_http_probe_takes_any_status_from_200_to_399() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let check = Check::Http { port, path: "/readyz".into(), headers: vec![] };
        let serve = async {
            for status in ["200 OK", "302 Found", "503 Service Unavailable"] {
                let (mut stream, from) = listener.accept().await.unwrap();
                assert_eq!(from.ip(), KUBELET);
                let mut bytes = [0; 1024];
                let count = stream.read(&mut bytes).await.unwrap();
                assert!(bytes[..count].starts_with(b"GET /readyz HTTP/1.1\r\n"));
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let limit = Duration::from_secs(10);
        let ask = async {
            let mut outcomes = Vec::new();
            for _ in 0..3 {
                outcomes.push(attempt(Ipv4Addr::LOCALHOST, check.clone(), limit).await);
            }
            outcomes
        };
        let (outcomes, ()) = tokio::join!(ask, serve);
        let refused = Err(format!("GET :{port}/readyz gave 503"));
        assert_eq!(outcomes, [Ok(()), Ok(()), refused]);
    }
}
