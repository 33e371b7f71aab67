use super::*;
use network::Port;

use crate::tools::pins::{Platform, Tool, Wanted};
use crate::tools::resolve::{Answer, From};

fn pinned(tool: Tool, from: From, path: Option<&str>, notes: &[&str]) -> (Wanted, Answer) {
    let version = "0.32.0".to_owned();
    let url = Some("https://example.com/kind".to_owned());
    let sha256 = (from != From::Nowhere).then(|| "ab".repeat(32));
    let notes = notes.iter().map(ToString::to_string).collect();
    let answer = Answer { from, path: path.map(Into::into), version: Some(version.clone()), notes };
    (Wanted { tool, version, series: None, platform: Platform::here(), url, sha256 }, answer)
}

fn well() -> Facts {
    Facts {
        machine: machine::Facts {
            os: "linux".to_owned(),
            kernel: "Linux 6.8.0 x86_64".to_owned(),
            cpus: 2,
            memory: Some(8 << 30),
            disk: Some(50 << 30),
            target: "/w/target".to_owned(),
            unwritable: None,
        },
        cgroup: cgroup::Facts { version: Some(2), ..cgroup::Facts::default() },
        clock: clock::Facts::default(),
        places: places::Facts {
            temp: "/tmp".into(),
            temp_free: Ok(9 << 30),
            cargo_home: Some("/home/me/.cargo".into()),
            unreadable: None,
            unwritable: None,
        },
        toolchain: toolchain::Facts {
            rustc: Some("rustc 1.95.0 (59807616e 2026-04-14)".to_owned()),
            cargo: Some("cargo 1.95.0 (f2d3ce0bd 2026-03-21)".to_owned()),
            linker: Some("cc (Ubuntu 13.3.0) 13.3.0".to_owned()),
            unlinkable: None,
        },
        limits: limits::Facts {
            files: (Some(4096), Some(65536)),
            processes: (Some(96_000), Some(96_000)),
            watches: Some(524_288),
            no_inotify: None,
            no_watch: None,
        },
        network: network::Facts { port: Port::Free, no_loopback: None, localhost: true, proxy: None },
        docker: docker::Facts::NoCommand { engine: false },
        tools: tools::Facts::Seen(vec![
            pinned(Tool::Kind, From::Path, Some("/usr/bin/kind"), &[]),
            pinned(Tool::Linkerd, From::Fetch, None, &["/usr/bin/linkerd is too old: edge-25.1.1"]),
        ]),
    }
}

#[test]
fn a_good_machine_is_told_line_by_line() {
    insta::assert_snapshot!(text(&well().judge(), false), @r"
    ok       system     Linux 6.8.0 x86_64, 2 CPUs
    ok       memory     8.0 GiB available
    ok       disk       50.0 GiB free in /w/target
    ok       checkout   writable
    ok       cgroup     version 2
    ok       clock      ahead of all that was built and saved
    ok       temp       9.0 GiB free in /tmp
    ok       home       cargo's is /home/me/.cargo
    ok       rustc      rustc 1.95.0 (59807616e 2026-04-14)
    ok       cargo      cargo 1.95.0 (f2d3ce0bd 2026-03-21)
    ok       linker     cc (Ubuntu 13.3.0) 13.3.0
    ok       nofile     4096 open files
    ok       nproc      96000 processes and threads
    ok       inotify    524288 watches
    ok       loopback   127.0.0.0/8 can be used
    ok       port       8080 is free for the ingress
    ok       names      foo.localhost resolves to loopback
    ok       proxy      none between a client and foo.localhost
    ok       docker     none, needed by --runtime kind alone
    ok       kind       0.32.0 (/usr/bin/kind)
    ok       linkerd    0.32.0 is fetched when the kind runtime needs it; /usr/bin/linkerd is too old: edge-25.1.1

    All is well.
    ");
}

#[test]
fn every_fault_comes_with_its_remedy() {
    let mut facts = well();
    facts.machine.disk = Some(100 << 20);
    facts.machine.memory = Some(700 << 20);
    facts.machine.unwritable = Some("Permission denied (os error 13)".to_owned());
    facts.machine.kernel = "Linux 4.19.0-27-amd64 x86_64".to_owned();
    facts.cgroup.processes = Some(12);
    facts.clock.future = Some(("services/baz/src/main.rs".to_owned(), std::time::Duration::from_secs(7200)));
    facts.places.temp_free = Err("No space left on device (os error 28)".to_owned());
    facts.places.unreadable = Some("Permission denied (os error 13)".to_owned());
    facts.limits.processes = (Some(64), Some(96_000));
    facts.toolchain.rustc = Some("rustc 1.70.0 (90c541806 2023-05-31)".to_owned());
    facts.toolchain.linker = None;
    facts.limits.files = (Some(256), Some(1_048_576));
    facts.limits.watches = Some(1024);
    facts.network.port = Port::Taken(None);
    facts.network.no_loopback = Some("Cannot assign requested address (os error 99)".to_owned());
    facts.network.localhost = false;
    facts.network.proxy = Some(("HTTP_PROXY".to_owned(), "http://proxy:3128".to_owned()));
    facts.docker = docker::Facts::Denied { socket: "/var/run/docker.sock".to_owned() };
    facts.tools = tools::Facts::Seen(vec![pinned(Tool::Kind, From::Nowhere, None, &["no sum is pinned"])]);
    let findings = facts.judge();
    assert!(findings.iter().all(|finding| finding.remedy.is_some() == (finding.level != Level::Ok)));
    insta::assert_snapshot!(text(&findings, false), @r#"
    warning  system     Linux 4.19.0-27-amd64 x86_64, 2 CPUs: older than what this is made for, 5.10
                        hint: a newer release of your distribution
    warning  memory     700 MiB available: compiling may be killed
                        hint: close something, or build with fewer jobs: export CARGO_BUILD_JOBS=1
    problem  disk       100 MiB free in /w/target
                        hint: cargo clean; or build elsewhere: export CARGO_TARGET_DIR=DIRECTORY
    problem  checkout   cannot write to /w/target: Permission denied (os error 13)
                        hint: make it writable, or build elsewhere: export CARGO_TARGET_DIR=DIRECTORY
    problem  cgroup     only 12 more processes and threads may be started
                        hint: start the container or session with more: docker run --pids-limit 4096, or systemd-run -p TasksMax=4096
    warning  clock      services/baz/src/main.rs was saved 120m00s in the future: cargo would build it anew each time
                        hint: touch services/baz/src/main.rs; and if the clock is wrong: sudo timedatectl set-ntp true
    problem  temp       cannot write to /tmp: No space left on device (os error 28)
                        hint: free some of it, or use another: export TMPDIR=DIRECTORY
    problem  home       cargo cannot read /home/me/.cargo: Permission denied (os error 13)
                        hint: sudo chown -R "$(id -un)" /home/me/.cargo, or another: export CARGO_HOME=DIRECTORY
    problem  rustc      rustc 1.70.0 (90c541806 2023-05-31): 1.90 or newer is needed
                        hint: rustup update
    ok       cargo      cargo 1.95.0 (f2d3ce0bd 2026-03-21)
    problem  linker     no cc on PATH: Rust programs cannot be linked
                        hint: sudo apt-get install build-essential (Debian, Ubuntu), sudo dnf install gcc (Fedora)
    problem  nofile     only 256 open files: too few for the pods
                        hint: ulimit -n 65536
    problem  nproc      only 64 processes and threads: too few for compilers and pods
                        hint: ulimit -u 65536
    warning  inotify    only 1024 watches: changes may go unnoticed
                        hint: sudo sysctl fs.inotify.max_user_watches=524288
    problem  loopback   127.77.1.1 cannot be used: Cannot assign requested address (os error 99)
                        hint: sudo ip address add 127.0.0.1/8 dev lo; sudo ip link set lo up
    problem  port       8080 is taken by another user's process
                        hint: sudo ss -ltnp 'sport = 8080' says by which; another port: cargo xtask up --port 8081
    warning  names      foo.localhost does not resolve here; browsers and curl know it, other programs do not
                        hint: curl -H 'Host: foo.localhost' http://127.0.0.1:8080/, or --resolve foo.localhost:8080:127.0.0.1
    warning  proxy      HTTP_PROXY=http://proxy:3128: curl and others would ask it for foo.localhost
                        hint: export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1
    warning  docker     /var/run/docker.sock: permission denied, needed by --runtime kind alone
                        hint: sudo usermod -aG docker "$(id -un)", and log in again
    warning  kind       none; no sum is pinned
                        hint: put kind 0.32.0 or newer on PATH before using the kind runtime

    11 problems, 8 warnings.
    "#);
}
