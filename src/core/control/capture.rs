//! Packets as the data plane sees them, for as long as somebody asks: whole, to be looked at, or counted by client.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::OperationError;
use crate::config::limits::Range;
use crate::config::{Name, Prefix, Protocol};

/// How long one may go on, seconds.
pub const CAPTURE_SECONDS: Range = Range { min: 1, max: 300 };
pub const CAPTURE_SECONDS_DEFAULT: u32 = 10;
/// Most packets.
pub const CAPTURE_PACKETS: Range = Range { min: 1, max: 1_000_000 };
pub const CAPTURE_PACKETS_DEFAULT: u32 = 10_000;
/// Most bytes of one capture, its own structure included.
pub const CAPTURE_BYTES_MAX: u64 = 64 << 20;
/// Files that are kept; the oldest makes room.
pub const CAPTURE_FILES_MAX: usize = 10;
/// Clients that `top` shows.
pub const TOP_ROWS: Range = Range { min: 1, max: 1_000 };
pub const TOP_ROWS_DEFAULT: u32 = 10;

/// Which packets, and how many at most. What is `None` does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOrder {
    /// Of the source or the destination, as they are when the packet comes in.
    pub host: Option<Prefix>,
    /// Virtual server and service: packets that the data plane takes for its, both ways.
    pub service: Option<(Name, Name)>,
    /// Of the source or the destination.
    pub port: Option<u16>,
    pub protocol: Option<Protocol>,
    /// What the customers say as well: their mail, and their passwords. Else headers alone.
    pub whole: bool,
    /// `CAPTURE_SECONDS`.
    pub time: Duration,
    /// `CAPTURE_PACKETS`.
    pub packets: u32,
    /// Into a file of this name, below the state directory; else to whoever asks.
    pub file: Option<Name>,
}

impl Default for CaptureOrder {
    fn default() -> Self {
        Self {
            host: None,
            service: None,
            port: None,
            protocol: None,
            whole: false,
            time: Duration::from_secs(CAPTURE_SECONDS_DEFAULT.into()),
            packets: CAPTURE_PACKETS_DEFAULT,
            file: None,
        }
    }
}

/// A part of a capture.
#[derive(Clone, Debug)]
pub enum CapturePiece {
    /// pcapng (draft-ietf-opsawg-pcapng); nothing of it when it goes to a file.
    Bytes(Vec<u8>),
    End(CaptureReport),
    /// It broke off.
    Failed(OperationError),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CaptureReport {
    pub packets: u64,
    pub bytes: u64,
    /// Packets that came faster than they were taken.
    pub lost: u64,
    /// Why it has ended, in words.
    pub ended: &'static str,
    /// Where it is.
    pub file: Option<String>,
}

/// Which clients use a service most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopOrder {
    pub virtual_server: Name,
    pub service: Name,
    /// Packets are counted for so long: `CAPTURE_SECONDS`.
    pub time: Duration,
    /// `TOP_ROWS`.
    pub rows: u32,
}

/// A client of a service, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TopRow {
    pub client: IpAddr,
    /// In the table, neither closed nor reset.
    pub connections: u64,
    /// In the time of the count, both ways in NAT.
    pub packets: u64,
    /// Of whole frames.
    pub bytes: u64,
}
