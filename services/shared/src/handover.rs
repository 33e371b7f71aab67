//! From one version of a program to the next within one process. SIGUSR2 makes it drain and then execute its own file
//! anew; its sockets go on listening all the while, so a client that connects meanwhile waits, and is not refused.
//!
//! `cargo xtask up` on a cluster uses it: it puts the new program where the old one was and sends the signal.

use std::{
    env,
    ffi::OsString,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::TcpListener as StdListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::Command,
};

use anyhow::Context;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::info;

use crate::serve::Listeners;

/// Set for a program that finds the sockets of the one before it behind its standard input.
const HANDED_OVER: &str = "HANDED_OVER";

/// A process has at most this many ports.
const PORTS: usize = 3;

/// A process that hands over to the next version of its program when asked to.
pub(crate) struct Handover {
    asked: Signal,
    /// Its file: once that is replaced, the kernel has another name for it.
    program: PathBuf,
}

impl Handover {
    /// From now on SIGUSR2 does not end the process.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot tell which program this is")?;
        // Last: who sees that the signal is caught may send it.
        let asked = signal(SignalKind::user_defined2()).context("cannot trap SIGUSR2")?;
        Ok(Self { asked, program })
    }

    /// Done at SIGUSR2.
    pub(crate) async fn asked(&mut self) {
        match self.asked.recv().await {
            Some(()) => info!(signal = "SIGUSR2", "asked to hand over"),
            None => std::future::pending().await,
        }
    }

    /// Executes the program's file with the sockets. Returns only if that fails.
    pub(crate) fn execute(self, sockets: &Sockets) -> anyhow::Result<()> {
        let input = sockets.send().context("cannot hand over the sockets")?;
        let arguments: Vec<OsString> = env::args_os().skip(1).collect();
        let error = Command::new(&self.program)
            .args(arguments)
            .env(HANDED_OVER, "1")
            .stdin(OwnedFd::from(input))
            .exec();
        Err(error).with_context(|| format!("cannot execute {}", self.program.display()))
    }
}

/// Second handles of a process's sockets: with them they go on listening when the servers are done with them.
pub(crate) struct Sockets {
    /// Which ports they are, a letter each.
    ports: Vec<u8>,
    handles: Vec<OwnedFd>,
}

impl Sockets {
    pub(crate) fn of(listeners: &Listeners) -> io::Result<Self> {
        let ports = [
            (b'h', listeners.http.as_ref()),
            (b'g', listeners.grpc.as_ref()),
            (b'a', Some(&listeners.admin)),
        ];
        let bound = ports.iter().filter_map(|(port, listener)| Some((*port, (*listener)?)));
        let (ports, listeners): (Vec<u8>, Vec<&TcpListener>) = bound.unzip();
        let handles: io::Result<_> =
            listeners.iter().map(|listener| listener.as_fd().try_clone_to_owned()).collect();
        Ok(Self { ports, handles: handles? })
    }

    /// Leaves them in a socket, which holds them until they are taken.
    fn send(&self) -> io::Result<UnixStream> {
        let (here, there) = UnixStream::pair()?;
        let handles: Vec<BorrowedFd<'_>> = self.handles.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PORTS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&handles));
        sendmsg(&here, &[IoSlice::new(&self.ports)], &mut ancillary, SendFlags::empty())?;
        Ok(there)
    }
}

/// The ports that the version before this one listened on; none if there was none.
///
/// # Errors
/// If they cannot be taken over.
pub(crate) fn inherited() -> anyhow::Result<Option<Listeners>> {
    if env::var_os(HANDED_OVER).is_none() {
        return Ok(None);
    }
    let (ports, handles) = receive(io::stdin().as_fd()).context("cannot take over the sockets")?;
    let listener = |handle: OwnedFd| {
        let listener = StdListener::from(handle);
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    let mut listeners = [None, None, None];
    for (port, handle) in ports.iter().zip(handles) {
        let place = match port {
            b'h' => 0,
            b'g' => 1,
            _ => 2,
        };
        listeners[place] = Some(listener(handle).context("cannot take over a socket")?);
    }
    let [http, grpc, admin] = listeners;
    Ok(Some(Listeners { http, grpc, admin: admin.context("no admin port was handed over")? }))
}

fn receive(from: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut ports = vec![0; PORTS];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PORTS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(from, &mut [IoSliceMut::new(&mut ports)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    ports.truncate(received.bytes);
    let handles = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(handles) => handles.collect(),
        _ => Vec::new(),
    });
    Ok((ports, handles.collect()))
}
