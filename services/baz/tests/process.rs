//! The process as a kubelet sees it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

fn baz(vars: &[(&str, &str)]) -> Command {
    of(env!("CARGO_BIN_EXE_baz").as_ref(), vars)
}

fn of(program: &Path, vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    let ports = [("BIND_ADDRESS", "127.0.0.1"), ("HTTP_PORT", "0"), ("GRPC_PORT", "0"), ("ADMIN_PORT", "0")];
    command.env_clear().envs(ports).envs(vars.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The addresses of its ports in the order http, grpc, admin.
fn addresses(log: &mut impl BufRead) -> Vec<String> {
    let listening = log.lines().map(Result::unwrap).filter(|line| line.contains(r#""message":"listening""#));
    let address =
        |line: String| line.split_once(r#""address":""#).unwrap().1.split('"').next().unwrap().to_owned();
    listening.take(3).map(address).collect()
}

#[test]
fn it_ends_well_on_sigterm_and_on_sigint() {
    for asked in [Signal::TERM, Signal::INT] {
        let mut child = baz(&[("HOSTNAME", "baz-7")]).spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let addresses = addresses(&mut log);
        let answer = ask(&addresses[0]);
        assert!(answer.contains(r#""hostname":"baz-7""#), "{answer}");
        signal(&child, asked);
        assert!(child.wait().unwrap().success());
    }
}

/// Asks and reads the answer, over a connection of its own.
fn ask(address: &str) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: baz\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn on_sigusr2_its_file_is_executed_anew_and_no_request_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("baz");
    std::fs::copy(env!("CARGO_BIN_EXE_baz"), &program).unwrap();
    let mut child = of(&program, &[]).spawn().unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let first = addresses(&mut log);
    let (end, ends) = std::sync::mpsc::channel();
    let address = first[0].clone();
    let asking = std::thread::spawn(move || {
        let mut count = 0;
        while ends.try_recv().is_err() {
            assert!(ask(&address).starts_with("HTTP/1.1 200 OK"));
            count += 1;
        }
        count
    });
    for _ in 0..3 {
        // As a file is replaced that is being executed: another is put in its place.
        let new = directory.path().join("new");
        std::fs::copy(env!("CARGO_BIN_EXE_baz"), &new).unwrap();
        std::fs::rename(&new, &program).unwrap();
        signal(&child, Signal::USR2);
        assert_eq!(addresses(&mut log), first);
        assert!(ask(&first[0]).starts_with("HTTP/1.1 200 OK"));
    }
    end.send(()).unwrap();
    assert!(asking.join().unwrap() > 0);
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    assert!(TcpStream::connect(&first[0]).is_err());
}

#[test]
fn every_mistake_in_its_environment_is_named_and_nothing_starts() {
    let vars = [("HTTP_PORT", "http"), ("BIND_ADDRESS", "here"), ("RUST_LOG", "shared=loud")];
    let output = baz(&vars).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    for part in
        ["3 mistakes", r#"HTTP_PORT is "http""#, r#"BIND_ADDRESS is "here""#, r#"RUST_LOG is "shared=loud""#]
    {
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = baz(&[("GRPC_PORT", &port)]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{port} for grpc")), "{log}");
}
