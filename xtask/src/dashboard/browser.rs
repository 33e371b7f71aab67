//! A real browser to look at the page with: Chromium without a screen, told what to do over a pipe, in the words of its
//! `DevTools` protocol (<https://chromedevtools.github.io/devtools-protocol/>).
//!
//! For `dashboard --screenshot`, and for the test of the page, which includes this file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

/// Where the browser is, if not on PATH by one of its usual names.
pub const CHROMIUM: &str = "XTASK_CHROMIUM";

/// How long the browser may take for one thing.
const PATIENCE: Duration = Duration::from_secs(60);

/// The browser of this machine; none where there is none.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(CHROMIUM) {
        return Some(named.into());
    }
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).flat_map(|at| names.map(|name| at.join(name))).find(|at| at.is_file())
}

/// A page in a browser. The process that [`command_line`] starts is the caller's.
#[derive(Debug)]
pub struct Browser {
    to: File,
    from: File,
    unread: Vec<u8>,
    next: u64,
    session: Option<String>,
    /// What the page told by itself, in order.
    pub events: Vec<Value>,
}

fn pipes(directory: &Path) -> [PathBuf; 2] {
    ["to", "from"].map(|name| directory.join(name))
}

/// The shell command line that starts it, with all that it keeps in `directory`, and with no network but this machine's.
pub fn command_line(chromium: &Path, directory: &Path) -> Vec<OsString> {
    let [to, from] = pipes(directory);
    // It reads from descriptor 3 and writes to descriptor 4.
    let script = "to=$1 from=$2; shift 2; exec \"$0\" \"$@\" 3<\"$to\" 4>\"$from\" 2>/dev/null";
    let mut line: Vec<OsString> = vec!["-c".into(), script.into(), chromium.into(), to.into(), from.into()];
    let mut profile = OsString::from("--user-data-dir=");
    profile.push(directory.join("profile"));
    line.push(profile);
    line.extend(
        [
            "--headless",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
        ]
        .map(OsString::from),
    );
    // It refuses to run as root in its own sandbox; where root is all there is, this machine is the sandbox.
    line.extend(rustix::process::geteuid().is_root().then(|| "--no-sandbox".into()));
    line
}

impl Browser {
    /// The pipes that it is spoken to by; to be made before it is started.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let [to, from] = pipes(directory).map(|path| {
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
            // For both ways, so that it waits for nobody at the other end.
            OpenOptions::new().read(true).write(true).open(path)
        });
        Ok(Self { to: to?, from: from?, unread: Vec::new(), next: 0, session: None, events: Vec::new() })
    }

    /// Opens an empty page of this size; all that follows is about it.
    pub fn page(&mut self, size: Size) -> io::Result<()> {
        let target = self.call("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call("Target.attachToTarget", &attach)?;
        self.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log", "Performance"] {
            self.call(&format!("{domain}.enable"), &json!({}))?;
        }
        self.resize(size)
    }

    /// Makes the window another.
    pub fn resize(&mut self, size: Size) -> io::Result<()> {
        let Size { width, height, scale, dark } = size;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600 }),
        )?;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features })).map(drop)
    }

    /// Goes to an address; returns when it is loaded.
    pub fn go(&mut self, url: &str) -> io::Result<()> {
        self.events.clear();
        let gone = self.call("Page.navigate", &json!({ "url": url }))?;
        if let Some(error) = gone["errorText"].as_str() {
            return Err(io::Error::other(format!("{url}: {error}")));
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.read(deadline)?;
            self.events.push(event);
        }
        Ok(())
    }

    /// The value of an expression in the page, a promise's when it is kept.
    pub fn eval(&mut self, expression: &str) -> io::Result<Value> {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let told = self.call("Runtime.evaluate", &asked)?;
        match told.get("exceptionDetails") {
            Some(thrown) => Err(io::Error::other(format!("{expression}: {thrown}"))),
            None => Ok(told["result"]["value"].clone()),
        }
    }

    /// Asks again and again until the value is neither false nor nothing.
    pub fn until(&mut self, expression: &str) -> io::Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.eval(expression)?;
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return Ok(value);
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "within {PATIENCE:?} it did not become so: {expression}"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the window shows, as PNG.
    pub fn screenshot(&mut self) -> io::Result<Vec<u8>> {
        let shot = self.call("Page.captureScreenshot", &json!({ "format": "png" }))?;
        Ok(base64(shot["data"].as_str().unwrap_or_default()))
    }

    /// Asks it to end.
    pub fn close(&mut self) -> io::Result<()> {
        self.session = None;
        self.call("Browser.close", &json!({})).map(drop)
    }

    /// Has something done, and gives the answer.
    pub fn call(&mut self, method: &str, params: &Value) -> io::Result<Value> {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.read(deadline)?;
            if told["id"] != id {
                self.events.push(told);
            } else if let Some(error) = told.get("error") {
                return Err(io::Error::other(format!("{method}: {error}")));
            } else {
                return Ok(told["result"].clone());
            }
        }
    }

    /// The next message. Errors when none comes in time.
    fn read(&mut self, deadline: Instant) -> io::Result<Value> {
        let mut bytes = vec![0; 1 << 16];
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(serde_json::from_slice(&message[..end])?);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            if poll(&mut [PollFd::new(&self.from, PollFlags::IN)], Some(&left))? == 0 {
                return Err(io::Error::other(format!("the browser says nothing for {PATIENCE:?}")));
            }
            let count = self.from.read(&mut bytes)?;
            self.unread.extend_from_slice(&bytes[..count]);
        }
    }
}

/// A window.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Pixels of the picture for one of them.
    pub scale: f64,
    /// Of a person who wants it dark.
    pub dark: bool,
}

/// RFC 4648, without a check: what is no character of it is passed over.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0);
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|own| *own == byte)) {
        bits = bits << 6 | u32::try_from(digit).unwrap_or_default();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held).to_le_bytes()[0]);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_read() {
        assert_eq!(base64("UE5H"), b"PNG");
        assert_eq!(base64("/+8gYQ=="), [0xff, 0xef, b' ', b'a']);
    }
}
