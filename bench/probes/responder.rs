//! The servers: one process, which answers at every address of its machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use lbd::lab::servers::{self, Kind, Responder, ServerArgs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Accepts and waits for the end.
pub const TCP: u16 = 7001;
pub const SMTP: u16 = 7025;
pub const DNS: u16 = 7053;
pub const IMAP: u16 = 7143;
pub const TLS: u16 = 7993;
/// Accepts, or takes datagrams, and never says a word.
pub const SILENT: u16 = 7999;

/// Serves until it is killed; prints `ready`.
pub fn respond() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let tls = server_config()?;
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        for port in [TCP, SMTP, TLS, SILENT] {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(any(port))?;
            tokio::spawn(accept(socket.listen(4096)?, port, tls.clone()));
        }
        let _silent = UdpSocket::bind(any(SILENT)).await?;
        let serve = vec![Responder { kind: Kind::Imap, port: IMAP }, Responder { kind: Kind::Dns, port: DNS }];
        servers::serve(ServerArgs { name: "mx1".into(), serve, too_busy: false }).await
    })
}

async fn accept(listener: TcpListener, port: u16, tls: Arc<rustls::ServerConfig>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let tls = tls.clone();
        tokio::spawn(async move {
            _ = match port {
                SMTP => smtp(stream).await,
                TLS => handshake(stream, tls).await,
                _ => end(stream).await,
            };
        });
    }
}

async fn end(mut stream: TcpStream) -> Result<()> {
    while stream.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}

async fn smtp(mut stream: TcpStream) -> Result<()> {
    stream.write_all(b"220 mx1.example ESMTP ready\r\n").await?;
    let mut line = [0; 256];
    loop {
        let count = stream.read(&mut line).await?;
        match line.get(..4) {
            _ if count == 0 => return Ok(()),
            Some(b"QUIT") => {
                stream.write_all(b"221 mx1.example closing\r\n").await?;
                return Ok(());
            }
            _ => stream.write_all(b"250-mx1.example\r\n250-SIZE 52428800\r\n250 PIPELINING\r\n").await?,
        }
    }
}

fn server_config() -> Result<Arc<rustls::ServerConfig>> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["mx1.example".to_owned()])?.self_signed(&key)?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(Arc::new(config))
}

async fn handshake(mut stream: TcpStream, config: Arc<rustls::ServerConfig>) -> Result<()> {
    let mut tls = rustls::ServerConnection::new(config)?;
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)?;
            tls.process_new_packets()?;
        }
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out)?;
        }
        stream.write_all(&out).await?;
    }
}
