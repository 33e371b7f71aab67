//! The pinned programs: found, fetched, resumed, refused. The server is this test's own, on loopback.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::{Checkout, text};

/// The path of the one released file, on every server.
const RELEASE: &str = "/org/kind/v0.32.0/kind";

/// A program that is larger than what passes through a socket at once.
fn program() -> Vec<u8> {
    let mut script = b"#!/bin/sh\necho kind v0.32.0 go1.25.4 linux/amd64\nexit 0\n".to_vec();
    script.extend((0..40_000).flat_map(|line| format!("# {line} of padding\n").into_bytes()));
    script
}

fn sum(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A checkout that pins [`program`] as kind, a cache, and a `PATH` of its own.
struct Scene {
    checkout: Checkout,
    home: tempfile::TempDir,
    /// How long nothing may come: long, so that a slow machine fails no test; short where that is the point.
    patience: &'static str,
}

impl Scene {
    fn new(name: &str) -> Self {
        Self::pinning(name, &format!(", sha256 = \"{}\"", sum(&program())))
    }

    fn pinning(name: &str, sha256: &str) -> Self {
        let checkout = Checkout::new(&format!("tools-{name}"));
        let shipped = checkout.read("manifests/versions.toml");
        let (_, rest) = shipped.split_once("[node]").unwrap();
        let files: String = ["linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"]
            .map(|platform| format!("\"{platform}\" = {{ file = \"kind\"{sha256} }}\n"))
            .concat();
        let pins = format!(
            "[tools.kind]\nversion = \"0.32.0\"\nurl = \"https://unreachable.invalid/org/kind/v{{version}}/{{file}}\"\n\
             [tools.kind.files]\n{files}\
             [tools.linkerd]\nversion = \"edge-26.6.3\"\nurl = \"https://unreachable.invalid/linkerd\"\nfiles = {{}}\n\
             [node]{rest}"
        );
        checkout.save("manifests/versions.toml", &pins);
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("bin")).unwrap();
        Self { checkout, home, patience: "5m" }
    }

    fn xtask(&self, args: &[&str], mirror: &str) -> Command {
        let mut command = self.checkout.xtask(args);
        for name in ["XTASK_OFFLINE", "XTASK_TOOL_KIND", "XTASK_TOOL_LINKERD", "HTTPS_PROXY", "https_proxy"] {
            command.env_remove(name);
        }
        command.env("PATH", self.home.path().join("bin")).env("XDG_CACHE_HOME", self.home.path());
        command.env("XTASK_TOOLS_MIRROR", mirror).env("XTASK_TOOLS_TIMEOUT", self.patience);
        command
    }

    fn fetch(&self, mirror: &str) -> Output {
        self.xtask(&["tools", "fetch", "kind"], mirror).output().unwrap()
    }

    /// Fetches, which must go well.
    fn fetched(&self, mirror: &str) -> String {
        let output = self.fetch(mirror);
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(std::fs::read(self.cached()).unwrap(), program());
        assert_eq!(self.cached().metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(self.names(), ["kind-0.32.0", "kind-0.32.0.lock"]);
        text(&output)
    }

    /// Fetches, which must fail as the environment's fault; what it says.
    fn refused(&self, mirror: &str) -> String {
        let output = self.fetch(mirror);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert!(!self.cached().exists());
        text(&output)
    }

    fn cache(&self) -> PathBuf {
        self.home.path().join("xtask/tools")
    }

    fn cached(&self) -> PathBuf {
        self.cache().join("kind-0.32.0")
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.cache()).unwrap();
        std::fs::write(self.cache().join(name), bytes).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.cache()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn listed(&self) -> Value {
        let output = self.xtask(&["tools", "ls", "-o", "json"], "/nowhere").output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))["tools"][0]
            .clone()
    }

    /// A program called kind on `PATH`, which says it has this version.
    fn on_path(&self, version: &str) -> PathBuf {
        let path = self.home.path().join("bin/kind");
        script(&path, &format!("echo kind v{version} go1.25.4 linux/amd64"));
        path
    }
}

fn script(path: &Path, line: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{line}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// One request: its path and headers.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    headers: BTreeMap<String, String>,
}

impl Asked {
    /// Where the wanted range begins.
    fn from(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// A connection, with or without TLS.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// A server on loopback that closes each connection after one answer.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// `answer` is given the request's number, from 1.
    fn start(answer: impl Fn(usize, &Asked, &mut dyn Stream) + Send + Sync + 'static) -> Self {
        Self::over("http", |stream| Box::new(stream), answer)
    }

    /// The same over TLS; the certificate is for 127.0.0.1, and its own authority.
    fn start_tls(
        certified: &rcgen::CertifiedKey<rcgen::KeyPair>,
        answer: impl Fn(usize, &Asked, &mut dyn Stream) + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        let config = Arc::new(config);
        let wrap = move |stream| -> Box<dyn Stream> {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            Box::new(rustls::StreamOwned::new(connection, stream))
        };
        Self::over("https", wrap, answer)
    }

    fn over(
        scheme: &str,
        wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + Sync + 'static,
        answer: impl Fn(usize, &Asked, &mut dyn Stream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (seen, answer, wrap) = (Arc::clone(&asked), Arc::new(answer), Arc::new(wrap));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, answer, wrap) = (Arc::clone(&seen), Arc::clone(&answer), Arc::clone(&wrap));
                std::thread::spawn(move || {
                    let mut stream = wrap(stream);
                    let Some(request) = read(&mut *stream) else { return };
                    let number = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(request.clone());
                        seen.len()
                    };
                    answer(number, &request, &mut *stream);
                    let _ = stream.flush();
                });
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &mut dyn Stream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    Some(Asked { path, headers })
}

/// Answers; a client that is gone is its own affair.
fn say(stream: &mut dyn Stream, status: &str, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// Answers as a file server does, with ranges; the file's tag is `"one"`.
fn serve(asked: &Asked, stream: &mut dyn Stream, file: &[u8]) {
    let same = asked.headers.get("if-range").is_none_or(|tag| tag == "\"one\"");
    match asked.from().filter(|_| same) {
        Some(from) if from >= file.len() => {
            say(stream, "416 Range Not Satisfiable", "content-length: 0\r\n", b"");
        }
        Some(from) => {
            let (last, all, rest) = (file.len() - 1, file.len(), &file[from..]);
            let headers = format!(
                "etag: \"one\"\r\ncontent-range: bytes {from}-{last}/{all}\r\ncontent-length: {}\r\n",
                rest.len()
            );
            say(stream, "206 Partial Content", &headers, rest);
        }
        None => {
            say(stream, "200 OK", &format!("etag: \"one\"\r\ncontent-length: {}\r\n", file.len()), file);
        }
    }
}

/// Waits until the client closes its end.
fn hold(stream: &mut dyn Stream) {
    let _ = stream.read(&mut [0]);
}

#[test]
fn what_is_not_there_is_fetched_once_and_checked() {
    let scene = Scene::new("whole");
    let server = Server::start(|_, asked, stream| serve(asked, stream, &program()));
    let told = scene.fetched(&server.url);
    assert!(told.contains("fetch kind 0.32.0 from http://127.0.0.1:"), "{told}");
    assert!(scene.fetched(&server.url).contains("tool kind 0.32.0: "));
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((asked[0].path.as_str(), asked[0].from()), (RELEASE, None));
    let listed = scene.listed();
    assert_eq!((&listed["from"], &listed["fits"]), (&"cache".into(), &true.into()), "{listed}");
}

#[test]
fn progress_is_told_in_json() {
    let scene = Scene::new("progress");
    let server = Server::start(|_, asked, stream| serve(asked, stream, &program()));
    let output = scene.xtask(&["tools", "fetch", "kind", "-o", "json"], &server.url).output().unwrap();
    let events: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let last = events.iter().rfind(|event| event["event"] == "transfer").unwrap();
    let size = Value::from(program().len());
    assert_eq!((&last["step"], &last["bytes"], &last["total"]), (&"fetch kind".into(), &size, &size));
    let tool = events.last().unwrap();
    assert_eq!(tool["event"], "tool");
    assert_eq!(tool["path"], scene.cached().to_str().unwrap());
}

#[test]
fn half_a_file_is_gone_on_with() {
    let scene = Scene::new("resume");
    let file = program();
    let half = file.len() / 2;
    scene.put("kind-0.32.0.part", &file[..half]);
    scene.put("kind-0.32.0.part.etag", b"\"one\"");
    let server = Server::start(|_, asked, stream| serve(asked, stream, &program()));
    scene.fetched(&server.url);
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].from(), Some(half));
    assert_eq!(asked[0].headers["if-range"], "\"one\"");
}

#[test]
fn half_of_another_file_is_fetched_anew() {
    let server = Server::start(|_, asked, stream| serve(asked, stream, &program()));
    // Another tag: the server sends all of it at once.
    let scene = Scene::new("other");
    scene.put("kind-0.32.0.part", b"something else");
    scene.put("kind-0.32.0.part.etag", b"\"two\"");
    scene.fetched(&server.url);
    assert_eq!(server.asked().len(), 1);
    // No tag: only the sum tells.
    std::fs::remove_file(scene.cached()).unwrap();
    scene.put("kind-0.32.0.part", b"something else");
    scene.fetched(&server.url);
    let ranges: Vec<_> = server.asked().iter().map(Asked::from).collect();
    assert_eq!(ranges, [Some(14), Some(14), None]);
    // Longer than the whole.
    std::fs::remove_file(scene.cached()).unwrap();
    scene.put("kind-0.32.0.part", &vec![b'#'; 2_000_000]);
    scene.fetched(&server.url);
}

#[test]
fn a_whole_file_that_was_not_put_in_its_place_is_not_fetched_again() {
    let scene = Scene::new("left");
    scene.put("kind-0.32.0.part", &program());
    let server = Server::start(|_, asked, stream| serve(asked, stream, &program()));
    scene.fetched(&server.url);
    assert!(server.asked().is_empty());
}

#[test]
fn another_file_is_deleted_and_both_sums_are_told() {
    let scene = Scene::new("sum");
    let server = Server::start(|_, asked, stream| serve(asked, stream, b"not a program"));
    let told = scene.refused(&server.url);
    assert!(told.contains(&sum(b"not a program")), "{told}");
    assert!(told.contains(&sum(&program())), "{told}");
    assert_eq!(scene.names(), ["kind-0.32.0.lock"]);
    assert_eq!(server.asked().len(), 1, "a wrong file is not asked for again");
}

#[test]
fn a_server_that_stalls_is_left_and_the_rest_fetched() {
    let scene = Scene { patience: "300ms", ..Scene::new("stall") };
    let server = Server::start(|number, asked, stream| {
        if number > 1 {
            return serve(asked, stream, &program());
        }
        let file = program();
        let head = format!("etag: \"one\"\r\ncontent-length: {}\r\n", file.len());
        say(stream, "200 OK", &head, &file[..100_000]);
        hold(stream);
    });
    let told = scene.fetched(&server.url);
    assert!(told.contains("nothing came for 300ms"), "{told}");
    let ranges: Vec<_> = server.asked().iter().map(Asked::from).collect();
    assert_eq!(ranges, [None, Some(100_000)]);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let scene = Scene { patience: "300ms", ..Scene::new("silent") };
    let server = Server::start(|_, _, stream| hold(stream));
    let told = scene.refused(&server.url);
    assert!(told.contains("nothing came for 300ms"), "{told}");
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_connection_that_breaks_is_tried_again_and_then_given_up() {
    let scene = Scene::new("breaks");
    let server = Server::start(|_, asked, stream| {
        let file = program();
        let from = asked.from().unwrap_or(0);
        let (status, range) = match asked.from() {
            Some(from) => ("206 Partial Content", format!("content-range: bytes {from}-1/2\r\n")),
            None => ("200 OK", String::new()),
        };
        let head = format!("etag: \"one\"\r\n{range}content-length: {}\r\n", file.len() - from);
        say(stream, status, &head, &file[from..from + 1000]);
    });
    let told = scene.refused(&server.url);
    assert!(told.contains("the connection broke after 3000 bytes"), "{told}");
    let part = std::fs::read(scene.cache().join("kind-0.32.0.part")).unwrap();
    assert_eq!(part, program()[..3000], "what came is kept for the next time");
}

#[test]
fn what_a_server_does_not_have_is_told_with_what_to_put_where() {
    let scene = Scene::new("404");
    let server = Server::start(|_, _, stream| say(stream, "404 Not Found", "content-length: 0\r\n", b""));
    let told = scene.refused(&server.url);
    assert!(told.contains("404 Not Found"), "{told}");
    assert!(told.contains(&format!("{}{RELEASE}", server.url)), "{told}");
    let hint = format!(
        "save https://unreachable.invalid{RELEASE} (sha256 {}) as {}",
        sum(&program()),
        scene.cached().display()
    );
    assert!(told.contains(&hint), "{told}");
    assert_eq!(server.asked().len(), 1, "what is not there is not asked for again");
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let scene = Scene::new("busy");
    let server = Server::start(|number, asked, stream| match number {
        1 => say(stream, "503 Service Unavailable", "content-length: 0\r\n", b""),
        _ => serve(asked, stream, &program()),
    });
    assert!(scene.fetched(&server.url).contains("503"));
}

#[test]
fn nobody_at_the_address_is_told_with_the_reason() {
    let scene = Scene::new("refused");
    // Bound and let go: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = scene.refused(&format!("http://{address}"));
    assert!(told.contains(&format!("cannot reach {address}: Connection refused")), "{told}");
    assert!(told.contains(&sum(&program())), "{told}");
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let scene = Scene::new("redirect");
    let files = Server::start(|_, asked, stream| match asked.path.as_str() {
        "/files/1" => say(stream, "302 Found", "location: /files/2\r\ncontent-length: 0\r\n", b""),
        _ => serve(asked, stream, &program()),
    });
    let first = format!("location: {}/files/1\r\ncontent-length: 0\r\n", files.url);
    let server = Server::start(move |_, _, stream| say(stream, "307 Temporary Redirect", &first, b""));
    scene.fetched(&server.url);
    let paths: Vec<_> = files.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths, ["/files/1", "/files/2"]);

    let scene = Scene::new("loop");
    let server =
        Server::start(|_, _, stream| say(stream, "302 Found", "location: /\r\ncontent-length: 0\r\n", b""));
    let told = scene.refused(&server.url);
    assert!(told.contains("more than 5 redirects"), "{told}");
    assert_eq!(server.asked().len(), 6);
}

#[test]
fn two_at_once_fetch_once() {
    let scene = Scene::new("two");
    let (go, wait) = mpsc::channel::<()>();
    let (came, first_came) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let server = Server::start(move |_, asked, stream| {
        came.send(()).unwrap();
        let _ = wait.lock().unwrap().recv();
        serve(asked, stream, &program());
    });
    let start = || {
        let mut command = scene.xtask(&["tools", "fetch", "kind"], &server.url);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let first = start();
    first_came.recv().unwrap();
    let mut second = start();
    let mut lines = BufReader::new(second.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("another xtask fetches kind 0.32.0")));
    go.send(()).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.contains("tool kind 0.32.0")), "{rest:?}");
    assert!(second.wait().unwrap().success());
    assert!(first.wait_with_output().unwrap().status.success());
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_directory_can_be_the_mirror() {
    let scene = Scene::new("directory");
    let mirror = scene.home.path().join("mirror");
    let told = scene.refused(mirror.to_str().unwrap());
    assert!(told.contains("No such file or directory"), "{told}");
    let file = mirror.join(&RELEASE[1..]);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, program()).unwrap();
    scene.fetched(mirror.to_str().unwrap());
    let wrong = scene.fetch("mirror");
    assert!(wrong.status.success(), "nothing is fetched, so the mirror is not looked at");
    std::fs::remove_file(scene.cached()).unwrap();
    let wrong = scene.fetch("mirror");
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
}

#[test]
fn offline_says_which_file_to_put_where_and_takes_it() {
    let scene = Scene::new("offline");
    let offline = || scene.xtask(&["tools", "fetch", "kind", "--offline"], "/nowhere").output().unwrap();
    let output = offline();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains(&sum(&program())), "{}", text(&output));
    assert!(text(&output).contains(scene.cached().to_str().unwrap()), "{}", text(&output));
    // The wrong file is not taken, and not thrown away before there is a better one.
    scene.put("kind-0.32.0", b"something else");
    let output = offline();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains(&sum(b"something else")), "{}", text(&output));
    // As a browser saves it: not executable.
    scene.put("kind-0.32.0", &program());
    let output = offline();
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(scene.cached().metadata().unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_program_on_path_is_used_when_it_fits() {
    let scene = Scene::new("path");
    let server = Server::start(|_, asked, stream| serve(asked, stream, &program()));
    let kind = scene.on_path("0.40.0-alpha");
    let output = scene.fetch(&server.url);
    assert!(
        text(&output).contains(&format!("tool kind 0.40.0-alpha: {}", kind.display())),
        "{}",
        text(&output)
    );
    assert_eq!(scene.listed()["from"], "path");
    scene.on_path("0.31.0");
    assert!(scene.listed()["notes"][0].as_str().unwrap().contains("too old: 0.31.0"));
    assert!(scene.fetched(&server.url).contains("too old: 0.31.0"));
    // Named on purpose, it is used as it is.
    let own = scene.home.path().join("own");
    script(&own, "echo kind v0.1.0");
    let mut command = scene.xtask(&["tools", "fetch", "kind"], &server.url);
    let output = command.env("XTASK_TOOL_KIND", &own).output().unwrap();
    assert!(text(&output).contains(&format!("tool kind 0.1.0: {}", own.display())), "{}", text(&output));
}

#[test]
fn without_a_sum_nothing_is_fetched() {
    let scene = Scene::pinning("no-sum", "");
    let server = Server::start(|_, asked, stream| serve(asked, stream, &program()));
    let told = scene.refused(&server.url);
    assert!(told.contains("no sha256 of kind 0.32.0 for "), "{told}");
    assert!(told.contains("manifests/versions.toml"), "{told}");
    assert!(server.asked().is_empty());
}

/// An HTTP proxy that makes the one tunnel it is asked for; what it was asked for.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let request = read(&mut client).unwrap();
        let mut server = TcpStream::connect(&request.path).unwrap();
        seen.lock().unwrap().push(request.path);
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
        let _ = std::io::copy(&mut server, &mut client);
    });
    (url, asked)
}

#[test]
fn https_is_held_against_the_machines_certificates_also_through_a_proxy() {
    let scene = Scene::new("https");
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let server = Server::start_tls(&certified, |_, asked, stream| serve(asked, stream, &program()));
    let roots = scene.home.path().join("roots.pem");
    std::fs::write(&roots, certified.cert.pem()).unwrap();
    let another = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let stranger = scene.home.path().join("stranger.pem");
    std::fs::write(&stranger, another.cert.pem()).unwrap();

    let fetch = |roots: &Path, proxy: &str| {
        let mut command = scene.xtask(&["tools", "fetch", "kind"], &server.url);
        command.env("SSL_CERT_FILE", roots).env("HTTPS_PROXY", proxy).env("NO_PROXY", "").output().unwrap()
    };
    let refused = fetch(&stranger, "");
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    assert!(text(&refused).contains("invalid peer certificate"), "{}", text(&refused));
    let direct = fetch(&roots, "");
    assert!(direct.status.success(), "{}", text(&direct));
    std::fs::remove_file(scene.cached()).unwrap();
    let (proxy, tunnels) = proxy();
    let tunnelled = fetch(&roots, &proxy);
    assert!(tunnelled.status.success(), "{}", text(&tunnelled));
    assert_eq!(*tunnels.lock().unwrap(), [server.url.trim_start_matches("https://")]);
}
