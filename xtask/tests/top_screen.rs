//! `top` on a terminal: a pseudoterminal, typed at and read as a person does.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use support::{Checkout, DEADLINE, eventually};

const COLUMNS: u16 = 80;
const ROWS: u16 = 24;
const LEAVES: &str = "\x1b[?1049l";

/// A terminal that `top` runs in.
struct Terminal {
    top: Child,
    /// The person's side, and the program's.
    keyboard: File,
    line: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// `xtask ARGS` in a terminal of its own.
    fn run(checkout: &Checkout, args: &[&str], no_color: &str) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let line = open(ptsname(&person, Vec::new()).unwrap(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty())
            .unwrap();
        tcsetwinsize(&line, Winsize { ws_col: COLUMNS, ws_row: ROWS, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let end = || line.try_clone().unwrap();
        let mut command = checkout.xtask(args);
        command.env("TERM", "xterm-256color").env("NO_COLOR", no_color);
        let top = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (keyboard, mut screen) = (File::from(person.try_clone().unwrap()), File::from(person));
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let to = Arc::clone(&written);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                to.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { top, keyboard, line, written }
    }

    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// What stands on the screen: moves of the cursor, clearing and text are all that there is to follow.
    fn seen(&self) -> String {
        let mut cells = vec![vec![' '; COLUMNS.into()]; ROWS.into()];
        let (mut x, mut y) = (0, 0);
        for part in Regex::new("(?s)\x1b\\[([0-9;?]*)([A-Za-z])|.").unwrap().captures_iter(&self.raw()) {
            let number =
                |nth: usize| part[1].split(';').nth(nth).and_then(|number| number.parse().ok()).unwrap_or(1);
            match part.get(2).map(|end| end.as_str()) {
                Some("H") => (y, x) = (number(0) - 1, number(1) - 1),
                Some("J") => cells.iter_mut().for_each(|line| line.fill(' ')),
                Some(_) => {}
                None => {
                    if let Some(cell) = cells.get_mut(y).and_then(|line| line.get_mut(x)) {
                        *cell = part[0].chars().next().unwrap();
                    }
                    x += 1;
                }
            }
        }
        cells.into_iter().map(String::from_iter).collect::<Vec<_>>().join("\n")
    }

    fn wait(&self, text: &str) {
        let start = Instant::now();
        while !self.seen().contains(text) {
            assert!(start.elapsed() < DEADLINE, "no `{text}` on\n{}", self.seen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.line).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits for the end; the terminal is as it was.
    fn ended(&mut self) -> ExitStatus {
        let status = eventually("the end of top", || self.top.try_wait().unwrap());
        eventually("leaving the screen", || self.raw().contains(LEAVES).then_some(()));
        assert!(!self.is_raw());
        let raw = self.raw();
        assert!(raw.rfind("\x1b[?25h") > raw.rfind("\x1b[?25l"), "the cursor is seen again");
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.top.kill();
        let _ = self.top.wait();
    }
}

#[test]
fn calls_are_seen_live_and_the_terminal_is_given_back() {
    let checkout = Checkout::new("top-screen");
    checkout.edit("manifests/base/synthetic.yaml", "replicas: 1", "replicas: 0");
    let up = checkout.up(&["--grpc", "--linkerd", "--policy", "--no-watch"]);
    up.ready();

    let mut terminal = Terminal::run(&checkout, &["top"], "");
    terminal.wait("no calls yet");
    terminal.wait("q quit  space pause  / filter  ← → sort  r reverse");
    assert!(terminal.is_raw());
    let refused = checkout.json(&["call", "--as", "synthetic", "--count", "5", "baz:grpc/demo.Baz/GetInfo"]);
    assert_eq!(refused["grpc_status"], 7, "{refused:#}");
    terminal.wait("denied 5");
    terminal.wait("!synthe…");
    assert!(terminal.raw().contains("\x1b[38;5;1;"), "in red");
    terminal.press("/nobody");
    terminal.wait("no calls match the filter");
    terminal.press("\r ");
    terminal.wait("PAUSED");
    terminal.press("q");
    assert_eq!(terminal.ended().code(), Some(0));

    // Control-C is a key here.
    let mut plain = Terminal::run(&checkout, &["top", "baz"], "1");
    plain.wait("calls of baz");
    plain.wait("no calls yet");
    plain.press("\x03");
    assert_eq!(plain.ended().code(), Some(0));
    assert!(!plain.raw().contains("\x1b[38;5;"), "NO_COLOR");

    let mut lost = Terminal::run(&checkout, &["top"], "");
    lost.wait("no calls yet");
    up.signal("KILL");
    assert_eq!(lost.ended().code(), Some(1));
    // Said where it stays to be read.
    eventually("the reason", || {
        let raw = lost.raw();
        let left = raw.split_once(LEAVES).unwrap().1;
        left.contains("`up` has ended, and with it what counts the calls").then_some(())
    });
}
