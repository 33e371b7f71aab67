//! The dashboard in a real browser: quick, small, silent, accessible, with the right numbers, and live.
//!
//! Needs Chromium (`XTASK_CHROMIUM` names one that is not on PATH); without it each test says that it is skipped. The
//! accessibility rules are axe-core's, which is no part of this repository: `XTASK_AXE` names its `axe.min.js`, else it is
//! looked for in `node_modules`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

#[path = "../src/dashboard/browser.rs"]
#[allow(dead_code, reason = "taking pictures is the command's")]
mod browser;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use browser::{Browser, Size, command_line};
use serde_json::{Value, json};
use support::{Checkout, Up, get};

const WIDE: Size = Size { width: 1280, height: 900, scale: 1.0, dark: false };
const PHONE: Size = Size { width: 390, height: 844, scale: 1.0, dark: false };

/// A browser with one page; ended with this.
struct Page {
    browser: Browser,
    child: Child,
    directory: tempfile::TempDir,
}

impl Page {
    /// None where there is no Chromium, which is said.
    fn open() -> Option<Self> {
        let Some(chromium) = browser::find() else {
            eprintln!("skipped: there is no chromium on PATH, and {} names none", browser::CHROMIUM);
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let browser = Browser::open(directory.path()).unwrap();
        let line = command_line(&chromium, directory.path());
        let child = Command::new("/bin/sh").args(line).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut page = Self { browser, child: child.unwrap(), directory };
        page.browser.page(WIDE).unwrap();
        Some(page)
    }

    fn eval(&mut self, expression: &str) -> Value {
        self.browser.eval(expression).unwrap()
    }

    fn until(&mut self, expression: &str) -> Value {
        self.browser.until(expression).unwrap_or_else(|error| {
            panic!(
                "{error}\n{}\n{:#?}",
                self.browser.eval("document.body.innerText").unwrap(),
                self.complaints()
            )
        })
    }

    fn go(&mut self, url: &str) {
        self.browser.go(url).unwrap();
        self.until("document.getElementById('state-text').textContent === 'live'");
    }

    /// What the page or the browser complained of: errors in the console, exceptions.
    fn complaints(&self) -> Vec<&Value> {
        let bad = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => {
                matches!(event["params"]["type"].as_str(), Some("error" | "warning"))
            }
            "Log.entryAdded" => {
                matches!(event["params"]["entry"]["level"].as_str(), Some("error" | "warning"))
            }
            _ => false,
        };
        self.browser.events.iter().filter(bad).collect()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if self.browser.close().is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        // It may still write as it ends: what it leaves is the system's to remove.
        let _ = std::fs::remove_dir_all(self.directory.path());
    }
}

fn up(checkout: &Checkout, args: &[&str]) -> (Up, std::net::SocketAddr, String) {
    let up = checkout.up(&[&["--grpc", "--linkerd", "--no-watch"], args].concat());
    let ingress = up.ready();
    let url = checkout.json(&["dashboard"])["url"].as_str().unwrap().to_owned();
    (up, ingress, url)
}

/// How many requests each pod answered, by its Deployment, as it counted itself.
fn counted(checkout: &Checkout) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for pod in checkout.json(&["status"])["pods"].as_array().unwrap() {
        let address = format!("{}:8090", pod["ip"].as_str().unwrap()).parse().unwrap();
        let (_, metrics) = get(address, "pod", "/metrics").unwrap();
        let lines = metrics.lines().filter(|line| line.starts_with("server_requests_total{"));
        let count: u64 = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        *all.entry(pod["deployment"].as_str().unwrap().to_owned()).or_default() += count;
    }
    all
}

const EDGES: &str = "Object.fromEntries([...document.querySelectorAll('#edges tbody tr')]\
    .map((row) => [row.dataset.key, Number(row.dataset.count)]))";

#[test]
fn it_is_quick_small_silent_and_right() {
    const SENT: u64 = 60;
    let Some(mut page) = Page::open() else { return };
    let checkout = Checkout::new("dashboard");
    // Nobody else asks: what is shown is what is asked here.
    checkout.edit("manifests/base/synthetic.yaml", "replicas: 1", "replicas: 0");
    let (_up, ingress, url) = up(&checkout, &["--dashboard-port", "0"]);

    // The quickest of some loads: a machine that is busy otherwise says nothing of the page.
    let mut loads = Vec::new();
    for _ in 0..5 {
        page.go(&url);
        loads.push(page.eval("performance.getEntriesByType('navigation')[0].loadEventEnd").as_f64().unwrap());
    }
    loads.sort_by(f64::total_cmp);
    eprintln!("loaded within {loads:?} ms");
    assert!(loads[0] < 300.0, "{loads:?}");

    let mut bytes = 0;
    let mut requests = 0;
    for event in &page.browser.events {
        match event["method"].as_str().unwrap_or_default() {
            "Network.loadingFinished" => {
                bytes += event["params"]["encodedDataLength"].as_u64().unwrap_or_default();
            }
            "Network.requestWillBeSent" => {
                let asked = event["params"]["request"]["url"].as_str().unwrap();
                assert!(asked.starts_with(&url), "it asks {asked}");
                requests += 1;
            }
            _ => {}
        }
    }
    eprintln!("{bytes} bytes in {requests} requests");
    assert!(requests >= 8 && bytes < 150_000, "{bytes} bytes in {requests} requests");

    // It counts once it shows its first figures.
    page.until("document.getElementById('edges').dataset.seconds");
    let before = counted(&checkout);
    for _ in 0..SENT {
        assert_eq!(get(ingress, "foo.localhost", "/").unwrap().0, 200);
    }
    let after = counted(&checkout);
    let done = |of: &str| after[of] - before[of];
    assert_eq!((done("foo"), done("bar"), done("baz")), (SENT, SENT, 2 * SENT));
    page.until(&format!("({EDGES})['foo>bar'] >= {SENT} && ({EDGES})['bar>baz'] >= {SENT}"));
    let edges = page.eval(EDGES);
    assert_eq!(edges["ingress>foo"], done("foo"), "{edges}");
    assert_eq!(edges["foo>bar"], done("bar"), "{edges}");
    assert_eq!(
        edges["foo>baz"].as_u64().unwrap() + edges["bar>baz"].as_u64().unwrap(),
        done("baz"),
        "{edges}"
    );
    // The table of calls goes on counting when they are no longer recent.
    page.eval("location.hash = 'calls'");
    let rows = "[...document.querySelectorAll('#calls-table tbody tr')]\
        .filter((row) => row.cells[1].textContent.startsWith('baz-') && row.cells[4].textContent !== '/metrics').reduce((sum, row) => sum + Number(row.cells[5].textContent), 0)";
    page.until(&format!("{rows} === {}", done("baz")));

    accessible(&mut page, &checkout);
    assert_eq!(page.complaints(), Vec::<&Value>::new());
}

/// What axe-core finds serious or worse in any view, in light and dark, wide and narrow: nothing.
fn accessible(page: &mut Page, checkout: &Checkout) {
    let own =
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("node_modules/axe-core/axe.min.js");
    let axe = std::env::var_os("XTASK_AXE").map_or_else(own, PathBuf::from);
    let Ok(axe) = std::fs::read_to_string(&axe) else {
        eprintln!(
            "skipped: the accessibility rules, for there is no {}, and XTASK_AXE names none",
            axe.display()
        );
        return;
    };
    checkout.ok(&["policy", "apply"]);
    // Refused: shown in other colours.
    checkout.json(&["call", "--as", "synthetic", "baz:grpc/demo.Baz/GetInfo"]);
    page.eval(&axe);
    for (size, dark) in [(WIDE, false), (WIDE, true), (PHONE, false), (PHONE, true)] {
        page.browser.resize(Size { dark, ..size }).unwrap();
        for view in ["overview", "calls", "logs", "timeline", "policy"] {
            page.eval(&format!("location.hash = '{view}'"));
            page.until(&format!("!document.getElementById('{view}').hidden"));
            if view == "policy" {
                page.until("document.querySelector('.cell.some')?.click() ?? true");
                page.until("document.querySelector('#why h3')");
            }
            let found = page.eval(
                "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations\
                 .filter(({ impact }) => impact === 'serious' || impact === 'critical')\
                 .map(({ id, nodes }) => [id, ...nodes.map((node) => node.failureSummary + ' ' + node.html)]))",
            );
            assert_eq!(found, json!([]), "{view}, {}, dark: {dark}: {found:#}", size.width);
        }
    }
    eprintln!("axe-core finds nothing serious in 5 views, dark and light, wide and narrow");
    page.browser.resize(WIDE).unwrap();
}

#[test]
fn a_denied_edge_is_marked_and_a_new_up_is_found() {
    const DENY: &str = "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata:\n  name: nobody\nspec:\n  \
        podSelector:\n    matchLabels:\n      app: baz\n  port: grpc\n  proxyProtocol: gRPC\n  accessPolicy: deny\n";
    let Some(mut page) = Page::open() else { return };
    let checkout = Checkout::new("dashboard-denied");
    checkout.save("deny.yaml", DENY);
    let (mut first, _, url) = up(&checkout, &["--dashboard-port", "0"]);
    page.go(&url);
    let marked = "!!document.querySelector('#graph .way.bad') && document.querySelector(\"#edges tr[data-key='foo>baz']\").className === 'bad'";
    page.until(&format!("({EDGES})['foo>baz'] > 50 && !({marked})"));
    // The quickest of some tries, for the same reason as above. Both clocks are this machine's.
    let mut took = Vec::new();
    for _ in 0..3 {
        checkout.ok(&["policy", "apply", "deny.yaml"]);
        let applied =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        page.until(marked);
        took.push(page.eval("Date.now()").as_f64().unwrap() / 1000.0 - applied);
        checkout.ok(&["policy", "delete", "deny.yaml"]);
        // Until none is recent.
        page.until(&format!("!({marked})"));
    }
    took.sort_by(f64::total_cmp);
    eprintln!("marked within {took:.2?} s");
    assert!(took[0] < 2.0, "{took:?}");
    assert_eq!(page.complaints(), Vec::<&Value>::new());

    // Without it the page says that it is stale; with another it goes on.
    first.signal("TERM");
    assert_eq!(first.exit_code(), Some(0));
    page.until("document.getElementById('state-text').textContent === 'stale' && !document.getElementById('stale').hidden");
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    let (_second, _, again) = up(&checkout, &["--dashboard-port", &port]);
    assert_eq!(again, url);
    page.until("document.getElementById('state-text').textContent === 'live' && document.getElementById('stale').hidden");
    page.until(&format!("({EDGES})['foo>baz'] > 0"));
    // Its actions have the new token.
    page.eval("[...document.querySelectorAll('.service')].find((own) => own.querySelector('h3').textContent === 'bar').querySelector('.more').click()");
    page.until("document.querySelector('.toast:not(.bad)')?.textContent.includes('bar is to have 2')");
    page.until("[...document.querySelectorAll('.service')].find((own) => own.querySelector('h3').textContent === 'bar').querySelectorAll('.badge.Ready').length === 2");
}

/// Memory of a process that is in use, in MB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn however_much_is_logged_the_page_and_up_stay_small() {
    let Some(mut page) = Page::open() else { return };
    let checkout = Checkout::new("dashboard-logs");
    // Some hundred lines for each request.
    let variable = "            - name: RATE\n              value: \"50\"";
    checkout.edit("manifests/base/synthetic.yaml", variable, &variable.replace("50", "200"));
    let variable = "env:\n";
    checkout.edit(
        "manifests/base/foo.yaml",
        variable,
        "env:\n            - name: RUST_LOG\n              value: trace\n",
    );
    let (up, _, url) = up(&checkout, &["--dashboard-port", "0"]);
    page.go(&url);
    // Every line would be told to this test, too.
    page.browser.call("Network.disable", &json!({})).unwrap();
    page.eval("location.hash = 'logs'");
    let seen = |page: &mut Page| {
        page.eval("Number(document.getElementById('logs-lines').dataset.seen)").as_u64().unwrap_or_default()
    };
    let state = |page: &mut Page| {
        page.browser.call("HeapProfiler.collectGarbage", &json!({})).unwrap();
        let heap = page.eval("performance.memory.usedJSHeapSize / 1e6").as_f64().unwrap();
        let elements = page.eval("document.querySelectorAll('*').length").as_u64().unwrap();
        (heap, elements, resident(up.child.id()))
    };
    page.until("Number(document.getElementById('logs-lines').dataset.seen) > 10000");
    let (first, start) = (seen(&mut page), std::time::Instant::now());
    let before = state(&mut page);
    page.until(&format!("Number(document.getElementById('logs-lines').dataset.seen) > {}", first + 60_000));
    let rate = (seen(&mut page) - first) / start.elapsed().as_secs().max(1);
    let after = state(&mut page);
    eprintln!("{rate} lines a second; page (MB, elements) and up (MB): {before:?}, then {after:?}");
    assert!(after.1 < 6_000, "{} elements", after.1);
    assert!(after.0 < before.0 + 10.0, "the page grows: {before:?}, then {after:?}");
    assert!(after.2 < before.2 + 40, "up grows: {before:?}, then {after:?}");
    // It still answers, and finds what is there.
    page.eval("{ const search = document.getElementById('logs-search'); search.value = 'no line has this'; search.dispatchEvent(new Event('input')); }");
    page.until("document.querySelectorAll('#logs-lines .line').length === 0");
    assert_eq!(page.complaints(), Vec::<&Value>::new());
}
