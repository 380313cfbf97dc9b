//! What the kernel says when a server cannot be reached, in words.

use std::io;

use crate::core::check::{FailureKind, Verdict};

/// The failure that an error of a socket means. Not for those of which [`is_shortage`] is true.
pub fn verdict(error: &io::Error) -> Verdict {
    let (kind, words) = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => (FailureKind::Refused, "connection refused"),
        Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => {
            (FailureKind::Unreachable, "no route to host: it does not answer ARP or neighbour discovery")
        }
        Some(libc::ETIMEDOUT) => (FailureKind::Timeout, "no answer: the kernel has given up"),
        Some(libc::ENETUNREACH) => (FailureKind::Local, "network unreachable: this box has no route to it"),
        Some(libc::EACCES | libc::EPERM) => {
            (FailureKind::Local, "this box does not let the probe out: a firewall rule, a blackhole route, or no root")
        }
        Some(libc::EAFNOSUPPORT) => (FailureKind::Local, "this box's kernel has this address family switched off"),
        _ => return Verdict::failure(FailureKind::Local, error.to_string()),
    };
    Verdict::failure(kind, words)
}

/// The connection was there, and is no more: the server has ended it.
pub fn is_closed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED))
}

/// This box lacks something; it says nothing about the server.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL | libc::EAGAIN)
    )
}

/// A rule or a route of this box forbids it.
pub fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

/// What is lacking, and what to do.
pub fn shortage(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "no more open files for this process; raise LimitNOFILE (ulimit -n)".into(),
        Some(libc::ENFILE) => "no more open files on this box; raise the sysctl fs.file-max".into(),
        Some(libc::EADDRNOTAVAIL) => {
            "no source address or port is left; see `ip address` and the sysctl net.ipv4.ip_local_port_range".into()
        }
        Some(libc::EACCES | libc::EPERM) => {
            "the way of probes behind virtual addresses is gone (rule, table, interface lbd-probe); lbd makes it again"
                .into()
        }
        _ => format!("the kernel lacks memory for sockets ({error})"),
    }
}
