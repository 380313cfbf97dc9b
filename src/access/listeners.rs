//! The sockets that are open, brought to what the configuration wants.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// Connections that the kernel keeps for us.
const BACKLOG: i32 = 32;
/// After an error that the next attempt would meet too, such as no file descriptor left.
const PAUSE: Duration = Duration::from_millis(200);

/// A connection, where it is from, and by which of the addresses of the configuration it came.
#[derive(Debug)]
pub struct Accepted {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub by: SocketAddr,
}

/// An address of the configuration, and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    pub wanted: SocketAddr,
    /// Where it listens; else why not.
    pub at: Result<SocketAddr, String>,
}

struct Open {
    at: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub struct Listeners {
    /// What is spoken, for the log.
    what: &'static str,
    /// What may be done where another program has the port.
    port_taken: &'static str,
    out: mpsc::Sender<Accepted>,
    open: BTreeMap<SocketAddr, Open>,
    /// What could not be opened, and why: said once, tried again each time.
    failed: BTreeMap<SocketAddr, String>,
}

impl Listeners {
    pub fn new(what: &'static str, port_taken: &'static str, out: mpsc::Sender<Accepted>) -> Self {
        Self { what, port_taken, out, open: BTreeMap::new(), failed: BTreeMap::new() }
    }

    /// Opens and closes; whether anything is another than before. Sessions go on without the listener they came by.
    pub fn bring(&mut self, wanted: &[SocketAddr]) -> bool {
        let before = (self.open.len(), self.failed.clone());
        self.open.retain(|address, _| wanted.contains(address));
        self.failed.retain(|address, _| wanted.contains(address));
        let mut is_changed = before != (self.open.len(), self.failed.clone());
        for address in wanted {
            if self.open.contains_key(address) {
                continue;
            }
            match listen(*address).and_then(|listener| Ok((listener.local_addr()?, listener))) {
                Ok((at, listener)) => {
                    info!("{} on {at}", self.what);
                    let task = tokio::spawn(accept(listener, *address, self.what, self.out.clone()));
                    self.open.insert(*address, Open { at, task });
                    self.failed.remove(address);
                    is_changed = true;
                }
                Err(error) => {
                    let why = explained(&error, self.port_taken);
                    if self.failed.insert(*address, why.clone()).as_ref() != Some(&why) {
                        warn!("no {} on {address}: {why}", self.what);
                        is_changed = true;
                    }
                }
            }
        }
        is_changed
    }

    pub fn listening(&self, wanted: &[SocketAddr]) -> Vec<Listening> {
        let at = |address: &SocketAddr| match self.open.get(address) {
            Some(open) => Ok(open.at),
            None => Err(self.failed.get(address).cloned().unwrap_or_default()),
        };
        wanted.iter().map(|address| Listening { wanted: *address, at: at(address) }).collect()
    }
}

fn explained(error: &io::Error, port_taken: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => port_taken.to_owned(),
        io::ErrorKind::AddrNotAvailable => "this box does not have the address (now)".into(),
        _ => error.to_string(),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match open(address) {
        // A kernel without IPv6 has IPv4 all the same.
        Err(error)
            if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) && address.ip() == Ipv6Addr::UNSPECIFIED =>
        {
            open(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
        }
        other => other,
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 too, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, by: SocketAddr, what: &str, out: mpsc::Sender<Accepted>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if out.send(Accepted { stream, peer, by }).await.is_err() {
                    return;
                }
            }
            // One that is gone already is none of ours; anything else may last.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!("{what} accepts nobody now: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
