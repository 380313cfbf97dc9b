//! The operating system: the only rooms that know Linux. They do what they are
//! told and report what they find; decisions are made in `core`.

pub mod arp;
pub mod asking;
pub mod bridge;
pub mod burst;
pub mod clock;
pub mod ethtool;
pub mod log;
pub mod netlink;
pub mod netns;
pub mod process;
pub mod realtime;
pub mod vip_watch;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Number of the enterprise below which this program's SNMP objects and its structured data are. That of RFC 5612, which is
/// for documentation: whoever ships this appliance to others registers one of his own.
pub const ENTERPRISE: u32 = 32473;

/// What the kernel refused, and what the operator can do about it.
#[derive(Debug, thiserror::Error)]
pub enum OsError {
    #[error("{what}: the kernel wants CAP_{capability}; run lbd as root, or give it that capability")]
    Privilege { what: String, capability: &'static str },
    #[error("there is no interface {name:?} in this network namespace; `ip link` shows those that are")]
    NoInterface { name: String },
    #[error(
        "there is an interface {name} that is not lbd's; rename or remove it (`ip link del {name}`): lbd makes its own"
    )]
    NameTaken { name: &'static str },
    #[error("{what}: the interface is gone; `ip link` shows those that are")]
    InterfaceGone { what: String },
    #[error("{address} has no neighbour entry to keep: {reason}")]
    NotDirect { address: IpAddr, reason: netlink::NotDirect },
    #[error(
        "{what}: the kernel runs spanning tree on the bridge, and decides itself; stop it there (`stp: false` where \
         lbd manages the bridge)"
    )]
    SpanningTree { what: String },
    #[error("{path}: no such network namespace; `ip netns` shows those with a name", path = path.display())]
    NoNamespace { path: PathBuf },
    #[error("{path} is not a network namespace", path = path.display())]
    NotANamespace { path: PathBuf },
    #[error("{what}: no answer from the kernel within {seconds} s; see the kernel's log (`dmesg`)")]
    Timeout { what: String, seconds: u64 },
    #[error("{what}: the connection to the kernel (netlink) has ended; restart lbd")]
    Closed { what: String },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl OsError {
    /// An error of the kernel in `what` was tried, in the words that help most.
    fn from_io(what: impl Into<String>, capability: &'static str, source: io::Error) -> Self {
        let what = what.into();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Privilege { what, capability },
            Some(libc::ENODEV | libc::ENXIO) => Self::InterfaceGone { what },
            _ => Self::Io { what, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_capability_that_is_missing() {
        let error = OsError::from_io("learning a MAC", "NET_ADMIN", io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(
            error.to_string(),
            "learning a MAC: the kernel wants CAP_NET_ADMIN; run lbd as root, or give it that capability"
        );
    }
}
