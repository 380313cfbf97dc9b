//! TCP sockets that are used again.
//!
//! A connection that ends by RST need not take its socket with it: connected to nobody (AF_UNSPEC, connect(2)), a
//! socket sends the RST, gives its port back and can connect anew. That spares each probe the making and the closing
//! of a socket, and the poll its coming and going.

use std::io;
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockRef, Socket, Type};

/// Sockets that wait for their next connection, of each family: more than these are closed. A busy prober has some
/// dozens of connections at once, as long as servers answer.
const IDLE_MAX: usize = 256;

/// Sockets without a connection. They have no mark and no source address, and the poll knows them.
#[derive(Debug, Default)]
pub struct Sockets {
    v4: Vec<Socket>,
    v6: Vec<Socket>,
}

impl Sockets {
    /// For a connection to an address of this family.
    pub fn take(&mut self, address: SocketAddr) -> Option<Socket> {
        self.family(address).pop()
    }

    /// Ends a connection to `address` by RST. The socket, which neither a mark nor a source address may have been given,
    /// waits for the next one; if there are enough, or it does not come loose, it is closed.
    pub fn put(&mut self, address: SocketAddr, socket: TcpStream) {
        let socket = Socket::from(socket);
        if disconnect(&socket).is_ok() {
            let idle = self.family(address);
            if idle.len() < IDLE_MAX {
                idle.push(socket);
            }
        } else {
            end(&socket);
        }
    }

    fn family(&mut self, address: SocketAddr) -> &mut Vec<Socket> {
        if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

/// A socket that has never been connected.
pub fn new(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

/// Closing will end the connection by RST.
pub fn end<'s>(socket: impl Into<SockRef<'s>>) {
    _ = socket.into().set_linger(Some(std::time::Duration::ZERO));
}

fn disconnect(socket: &Socket) -> io::Result<()> {
    // SAFETY: all-zero bytes are a sockaddr of the family AF_UNSPEC (0), of which the kernel reads nothing but the
    // family; the length is within the storage.
    let nobody = unsafe { SockAddr::new(SockAddrStorage::zeroed(), size_of::<libc::sockaddr>() as libc::socklen_t) };
    socket.connect(&nobody)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use super::*;

    fn connected(socket: &Socket, to: SocketAddr) -> io::Result<()> {
        match socket.connect_timeout(&to.into(), Duration::from_secs(10)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    #[test]
    fn a_socket_connects_anew_after_its_connection_has_ended_by_rst() {
        let mut sockets = Sockets::default();
        let listeners = ["127.0.0.1:0", "[::1]:0"].map(|at| TcpListener::bind(at).unwrap());
        for listener in listeners {
            let address = listener.local_addr().unwrap();
            assert!(sockets.take(address).is_none());
            let mut socket = new(address).unwrap();
            let file = socket.as_raw_fd();
            let mut ports = Vec::new();
            for _ in 0..3 {
                connected(&socket, address).unwrap();
                let (mut accepted, from) = listener.accept().unwrap();
                ports.push(from.port());
                accepted.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                sockets.put(address, socket.into());
                assert_eq!(accepted.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
                socket = sockets.take(address).unwrap();
                assert_eq!(socket.as_raw_fd(), file, "the same");
                assert!(socket.peer_addr().is_err(), "loose");
            }
            // Its errors are its own: nothing of the last connection is left.
            drop(listener);
            let error = connected(&socket, address).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            assert_ne!(ports[0], ports[1], "a connection of its own");
        }
    }

    #[test]
    fn no_more_sockets_wait_than_are_worth_it() {
        let mut sockets = Sockets::default();
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        for _ in 0..IDLE_MAX + 3 {
            sockets.put(address, new(address).unwrap().into());
        }
        assert_eq!(std::iter::from_fn(|| sockets.take(address)).count(), IDLE_MAX);
    }
}
