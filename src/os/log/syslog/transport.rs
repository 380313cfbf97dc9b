//! A way to a server: UDP, TCP with counted octets, or TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::message::counted;
use crate::config::{LogServer, LogTransport};

/// Until a connection is there, its TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Until a server takes the next message.
const SEND: Duration = Duration::from_secs(10);
/// Bytes that the kernel holds of what was sent.
const KERNEL: usize = 64 * 1024;
/// Bytes that were sent and are not acknowledged for so long: the server is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Why there is no way to a server.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it has taken nothing for {} s", SEND.as_secs())]
    Stuck,
    #[error("no connection within {} s", CONNECT.as_secs())]
    Unanswered,
    #[error("it has closed the connection")]
    Closed,
    #[error("{}: {why}", path.display())]
    Authorities { path: PathBuf, why: String },
    #[error("the address cannot stand in a certificate; say `name`")]
    Name,
}

impl TransportError {
    /// There is no such port at a server that there is.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open way.
pub enum Line {
    Datagrams(UdpSocket),
    Connection { from: ReadHalf<Box<dyn Stream>>, to: WriteHalf<Box<dyn Stream>> },
}

impl Line {
    pub async fn open(server: &LogServer, source: Option<IpAddr>) -> Result<Self, TransportError> {
        let at = SocketAddr::new(server.address, server.port);
        let any = if at.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
        let local = SocketAddr::new(source.unwrap_or(any), 0);
        let stream: Box<dyn Stream> = match server.transport {
            LogTransport::Udp => {
                let socket = UdpSocket::bind(local).await?;
                socket.connect(at).await?;
                return Ok(Self::Datagrams(socket));
            }
            LogTransport::Tcp => Box::new(within(connect(local, at)).await?),
            LogTransport::Tls => Box::new(within(secured(server, local, at)).await?),
        };
        let (from, to) = tokio::io::split(stream);
        Ok(Self::Connection { from, to })
    }

    /// Sends a message; one that was not sent as a whole breaks the connection.
    pub async fn send(&mut self, message: &str) -> Result<(), TransportError> {
        let sent = async {
            match self {
                Self::Datagrams(socket) => socket.send(message.as_bytes()).await.map(drop),
                Self::Connection { to, .. } => {
                    to.write_all(counted(message).as_bytes()).await?;
                    to.flush().await
                }
            }
        };
        timeout(SEND, sent).await.map_err(|_| TransportError::Stuck)?.map_err(TransportError::from)
    }

    /// Returns when the way has come to its end. What a server says is read and means nothing.
    pub async fn broken(&mut self) -> TransportError {
        let mut bytes = [0; 512];
        match self {
            Self::Datagrams(_) => std::future::pending().await,
            Self::Connection { from, .. } => loop {
                match from.read(&mut bytes).await {
                    Ok(0) => return TransportError::Closed,
                    Ok(_) => {}
                    Err(error) => return error.into(),
                }
            },
        }
    }
}

async fn within<T>(connecting: impl Future<Output = Result<T, TransportError>>) -> Result<T, TransportError> {
    timeout(CONNECT, connecting).await.map_err(|_| TransportError::Unanswered)?
}

async fn connect(local: SocketAddr, at: SocketAddr) -> Result<tokio::net::TcpStream, TransportError> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(local)?;
    let stream = socket.connect(at).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    // What the kernel has taken is lost with the connection, and nobody counts it: little is better.
    socket.set_send_buffer_size(KERNEL)?;
    socket.set_keepalive(true)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(stream)
}

async fn secured(server: &LogServer, local: SocketAddr, at: SocketAddr) -> Result<impl Stream + use<>, TransportError> {
    // Read anew each time: a file that was renewed, or mended, counts at the next attempt.
    let path = server.ca_file.clone().unwrap_or_default();
    let config = tokio::task::spawn_blocking(move || trusting(path)).await.map_err(io::Error::other)??;
    let name = match &server.name {
        Some(name) => ServerName::try_from(name.clone()).map_err(|_| TransportError::Name)?,
        None => ServerName::from(server.address),
    };
    let stream = connect(local, at).await?;
    Ok(TlsConnector::from(config).connect(name, stream).await?)
}

/// Trusts the certificates of a file, and no others.
fn trusting(path: PathBuf) -> Result<Arc<ClientConfig>, TransportError> {
    let wrong = |why: String| TransportError::Authorities { path: path.clone(), why };
    let certificates = CertificateDer::pem_file_iter(&path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(error.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
