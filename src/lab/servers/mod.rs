//! Small servers that name themselves, so that who answered is visible.
//!
//! They speak just enough of each protocol for a client to be content, are bounded in
//! everything, and are run as a process of their own, which can be killed, stopped and started again.

pub mod dns;
mod echo;
pub mod http;
mod imap;
mod lines;
pub mod md5;
mod pop3;
pub mod radius;
mod smtp;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::process::raise_file_limit;

/// The secret that the RADIUS responder shares with everybody.
pub const RADIUS_SECRET: &str = "lbd-lab";
/// Connections at once of one process; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16_384;
/// A client from whom nothing was heard for so long is asked whether it is still there: one that was cut off behind a
/// dead balancer never says that it is gone, and would keep its place for good.
const ASKED_AFTER: Duration = Duration::from_secs(30);
/// It is asked this often, so far apart, before its connection ends.
const ASKED_TIMES: u32 = 3;
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// Longer than the 29 minutes after which an IMAP client repeats IDLE (RFC 2177).
const IDLE_MAX: Duration = Duration::from_secs(40 * 60);
/// Largest datagram (RFC 768).
const DATAGRAM_MAX: usize = 65_535;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Smtp,
    Pop3,
    Imap,
    Http,
    Dns,
    Radius,
    /// A greeting, then every line back with the MD5 of its bytes; datagrams back behind the host's name.
    Echo,
}

impl Kind {
    pub const ALL: [Self; 7] = [Self::Smtp, Self::Pop3, Self::Imap, Self::Http, Self::Dns, Self::Radius, Self::Echo];

    fn has_tcp(self) -> bool {
        self != Self::Radius
    }

    fn has_udp(self) -> bool {
        matches!(self, Self::Dns | Self::Radius | Self::Echo)
    }

    pub fn default_port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Pop3 => 110,
            Self::Imap => 143,
            Self::Http => 80,
            Self::Dns => 53,
            Self::Radius => 1812,
            Self::Echo => 7,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smtp => "smtp",
            Self::Pop3 => "pop3",
            Self::Imap => "imap",
            Self::Http => "http",
            Self::Dns => "dns",
            Self::Radius => "radius",
            Self::Echo => "echo",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(|kind| kind.to_string()).join(", ");
        Self::ALL
            .into_iter()
            .find(|k| k.to_string() == text)
            .ok_or_else(|| format!("no such server; there are {}", names()))
    }
}

/// A kind of server at a port, `smtp` or `smtp:2525`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responder {
    pub kind: Kind,
    pub port: u16,
}

impl FromStr for Responder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, port) = text.split_once(':').map_or((text, None), |(kind, port)| (kind, Some(port)));
        let kind: Kind = kind.parse()?;
        let port = match port {
            None => kind.default_port(),
            Some(port) => port.parse().map_err(|_| format!("{port:?} is not a port (1 to 65535)"))?,
        };
        Ok(Self { kind, port })
    }
}

impl fmt::Display for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.port)
    }
}

/// The lab's servers of one machine, in the foreground of whatever network they are started in.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// What it calls itself in its greetings.
    #[arg(long)]
    pub name: String,
    /// A server and its port, `smtp` or `smtp:2525`; may be repeated. Default: all, at their usual ports.
    #[arg(long = "serve", value_name = "KIND[:PORT]")]
    pub serve: Vec<Responder>,
    /// SMTP turns everybody away with 421, as a server with too many connections does.
    #[arg(long)]
    pub too_busy: bool,
}

/// Serves until the process ends; prints `ready` when every port is open.
///
/// TCP is open at every address. UDP is bound to each address that the host has now, so that an
/// answer comes from the address that was asked, as a virtual IP on the loopback needs.
pub async fn serve(args: ServerArgs) -> anyhow::Result<()> {
    raise_file_limit()?;
    let all = Kind::ALL.map(|kind| Responder { kind, port: kind.default_port() });
    let responders = if args.serve.is_empty() { all.to_vec() } else { args.serve };
    let name: Arc<str> = args.name.into();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for responder in responders {
        let Responder { kind, port } = responder;
        let too_busy = args.too_busy;
        if kind.has_tcp() {
            let listener = listen(port).with_context(|| format!("{responder}/tcp"))?;
            tokio::spawn(accept(listener, kind, name.clone(), too_busy, places.clone()));
        }
        if kind.has_udp() {
            for address in own_addresses()? {
                let socket = UdpSocket::bind(SocketAddr::from((address, port))).await;
                let socket = socket.with_context(|| format!("{responder}/udp at {address}"))?;
                tokio::spawn(answer(socket, kind, name.clone()));
            }
        }
    }
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    stdout.flush()?;
    std::future::pending().await
}

/// Both address families on one socket, with room for a burst of customers.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(4_096)?;
    TcpListener::from_std(socket.into())
}

/// The host's addresses, without link-local ones.
fn own_addresses() -> anyhow::Result<BTreeSet<IpAddr>> {
    let of = |address: nix::ifaddrs::InterfaceAddress| {
        let address = address.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let link_local = |a: &IpAddr| matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(of).filter(|a| !link_local(a)).collect())
}

async fn accept(listener: TcpListener, kind: Kind, name: Arc<str>, too_busy: bool, places: Arc<Semaphore>) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a client that was gone before: neither is helped by haste.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let name = name.clone();
        tokio::spawn(async move {
            // What goes wrong in a conversation ends that conversation.
            let _ = converse(kind, stream, &name, too_busy).await;
            drop(place);
        });
    }
}

async fn converse(kind: Kind, stream: TcpStream, name: &str, too_busy: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(ASKED_AFTER).with_interval(ASKED_EVERY).with_retries(ASKED_TIMES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    let client = stream.peer_addr()?.ip().to_canonical();
    match kind {
        Kind::Smtp if too_busy => smtp::turn_away(stream, name).await,
        Kind::Smtp => smtp::converse(stream, name, client).await,
        Kind::Pop3 => pop3::converse(stream, name, client).await,
        Kind::Imap => imap::converse(stream, name, client).await,
        Kind::Http => http::converse(stream, name, client).await,
        Kind::Dns => dns::converse(stream, name).await,
        Kind::Echo => echo::converse(stream, name, client).await,
        Kind::Radius => Ok(()),
    }
}

async fn answer(socket: UdpSocket, kind: Kind, name: Arc<str>) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        // An error here is an ICMP message about an earlier answer: of no concern to the next question.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let question = buffer.get(..length).unwrap_or_default();
        let reply = match kind {
            Kind::Dns => dns::answer(question, &name),
            Kind::Radius => radius::answer(question, &name),
            Kind::Echo => Some(echo::answer(question, &name)),
            _ => None,
        };
        if let Some(reply) = reply {
            let _ = socket.send_to(&reply, client).await;
        }
    }
}

/// An I/O error when a client takes longer than any client may.
async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(IDLE_MAX, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
