//! A line echo with a checksum over TCP, a plain echo behind the host's name over UDP.

use std::io;
use std::net::IpAddr;

use tokio::net::TcpStream;

use super::DATAGRAM_MAX;
use super::lines::Lines;
use super::md5::hex_digest;

pub async fn converse(stream: TcpStream, name: &str, client: IpAddr) -> io::Result<()> {
    let mut lines = Lines::new(stream);
    lines.write(&format!("{name} echo, to {client}")).await?;
    while let Some(line) = lines.read().await? {
        lines.write(&format!("{} {line}", hex_digest(line.as_bytes()))).await?;
    }
    Ok(())
}

/// The datagram behind the host's name and a space, cut where it would exceed the largest datagram.
pub fn answer(question: &[u8], name: &str) -> Vec<u8> {
    let mut reply = format!("{name} ").into_bytes();
    reply.extend_from_slice(question);
    // The header of IPv4 and UDP.
    reply.truncate(DATAGRAM_MAX - 28);
    reply
}
