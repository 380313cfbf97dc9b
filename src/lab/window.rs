//! A window into the lab: the balancer's page, API and metrics at a loopback port of this machine, where the browser is.
//!
//! A namespace has a loopback of its own, and no browser starts there easily. Each connection is taken here, and made anew
//! inside the balancer's namespace; what is said goes through as it is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream as BlockingStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::host::Host;

/// Where it is, unless another program, or another lab, has the port: then at any that is free.
pub const PORT: u16 = 18080;
/// Connections at once; more wait.
const AT_ONCE: usize = 64;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Where the balancer listens.
const BEHIND: SocketAddr = SocketAddr::new(LOOPBACK, 8080);
const CONNECT: Duration = Duration::from_secs(5);
/// After an error that the next attempt would meet too, such as no file descriptor left.
const PAUSE: Duration = Duration::from_millis(200);

pub struct Window {
    listener: TcpListener,
    address: SocketAddr,
}

impl Window {
    /// Takes the port.
    pub async fn open() -> io::Result<Self> {
        let listener = match TcpListener::bind((LOOPBACK, PORT)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind((LOOPBACK, 0)).await?,
            other => other?,
        };
        Ok(Self { address: listener.local_addr()?, listener })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows this balancer, for ever.
    pub async fn show(self, balancer: Host) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            // The semaphore is never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((visitor, _)) => {
                    let balancer = balancer.clone();
                    tokio::spawn(async move {
                        // Whoever is not answered sees that his connection ends.
                        let _ = pass(visitor, balancer).await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

async fn pass(mut visitor: TcpStream, balancer: Host) -> io::Result<()> {
    let connect = move || balancer.enter(|| BlockingStream::connect_timeout(&BEHIND, CONNECT));
    let behind = tokio::task::spawn_blocking(connect).await.map_err(io::Error::other)?;
    let behind = behind.map_err(io::Error::other)??;
    behind.set_nonblocking(true)?;
    copy_bidirectional(&mut visitor, &mut TcpStream::from_std(behind)?).await?;
    Ok(())
}
