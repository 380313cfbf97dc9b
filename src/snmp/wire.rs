//! AgentX on a connection: whole messages in and out.
//!
//! Responses of the agent are read here and not by the library, whose reader computes with the uptime in a way that
//! overflows after 49.7 days.

use std::io;
use std::time::Duration;

use agentx::pdu::{Header, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes of a header (RFC 2741, 6.1).
const HEADER: usize = 20;
/// Bytes of a message besides: a request of snmpd has some hundred.
const PAYLOAD_MAX: usize = 64 * 1024;
/// Until an agent takes what it has asked for.
const WRITE: Duration = Duration::from_secs(5);

/// A message of the agent.
pub struct Pdu {
    pub header: Header,
    /// All of it, its header included.
    pub bytes: Vec<u8>,
}

impl Pdu {
    /// The error of a response, 0 for none (RFC 2741, 6.2.16); `None`: it is no response.
    pub fn error(&self) -> Option<u16> {
        if self.header.ty != Type::Response {
            return None;
        }
        let bytes = self.bytes.get(HEADER + 4..HEADER + 6)?.try_into().ok()?;
        let is_big = self.header.flags & 1 << agentx::pdu::NETWORK_BYTE_ORDER != 0;
        Some(if is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }
}

/// The next message; an error at the end, too. Not to be dropped half way: what it has read is gone then.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Pdu> {
    let mut bytes = vec![0; HEADER];
    from.read_exact(&mut bytes).await?;
    let header = Header::from_bytes(&bytes)?;
    let length = usize::try_from(header.payload_length).unwrap_or(usize::MAX);
    if header.version != 1 || length > PAYLOAD_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak AgentX"));
    }
    bytes.resize(HEADER + length, 0);
    from.read_exact(bytes.get_mut(HEADER..).unwrap_or_default()).await?;
    Ok(Pdu { header, bytes })
}

pub async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let written = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    timeout(WRITE, written).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
