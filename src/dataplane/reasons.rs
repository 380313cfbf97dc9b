//! Names of the program's counters, for metrics, state and `explain`.

use super::layout::reason;

/// What becomes of the packets that a reason counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Given to the kernel: switched, or for this box itself.
    Passed,
    /// Answered by the data plane itself.
    Answered,
    /// Sent on to a server or a client.
    Forwarded,
    Dropped,
    /// Not a packet's fate, but something to know.
    Event,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Answered => "answered",
            Self::Forwarded => "forwarded",
            Self::Dropped => "dropped",
            Self::Event => "event",
        }
    }
}

/// Reason, verdict, name, and what it means.
pub type Reason = (reason, Verdict, &'static str, &'static str);

pub const REASONS: &[Reason] = {
    use Verdict::*;
    &[
        (reason::REASON_PASS_PORT, Passed, "port", "the port is not ours, or its bridge state is not forwarding"),
        (reason::REASON_PASS_NOT_OWNER, Passed, "not-owner", "this box does not own the virtual addresses now"),
        (reason::REASON_PASS_SWITCHED, Passed, "switched", "addressed to another's MAC"),
        (reason::REASON_PASS_OTHER, Passed, "other", "not for the balancer"),
        (reason::REASON_PASS_MALFORMED, Passed, "malformed", "cannot be parsed; the kernel judges"),
        (
            reason::REASON_PASS_OPENED,
            Passed,
            "opened",
            "a server opens a data connection to a client: translated, for the kernel to route",
        ),
        (reason::REASON_ANSWERED_ARP, Answered, "arp", "ARP request for an address of ours"),
        (reason::REASON_ANSWERED_ND, Answered, "nd", "neighbour solicitation for an address of ours"),
        (reason::REASON_ANSWERED_ECHO, Answered, "echo", "ping to an address of ours"),
        (reason::REASON_ANSWERED_QUESTION, Answered, "question", "the peer asked what this box holds of the lease"),
        (reason::REASON_FORWARDED, Forwarded, "to-server", "to a server"),
        (reason::REASON_RETURNED, Forwarded, "to-client", "back to a client (NAT)"),
        (reason::REASON_ICMP_TO_SERVER, Forwarded, "icmp-to-server", "ICMP error about a server's packet"),
        (reason::REASON_ICMP_TO_CLIENT, Forwarded, "icmp-to-client", "ICMP error about a client's packet"),
        (reason::REASON_HASHED, Forwarded, "hashed", "later packet of an unknown connection, sent by the hash alone"),
        (
            reason::REASON_PASSED_BACK,
            Forwarded,
            "passed-back",
            "of a connection that only the box that owned before may know, which got it",
        ),
        (reason::REASON_RST_NO_SERVICE, Answered, "rst-no-service", "RST: no service on this port"),
        (reason::REASON_RST_NO_FLOW, Answered, "rst-no-flow", "RST: later packet of an unknown connection"),
        (reason::REASON_RST_NO_SERVER, Answered, "rst-no-server", "RST: no server can take the connection"),
        (reason::REASON_RST_DOWN, Answered, "rst-down", "RST: the connection's server has failed"),
        (reason::REASON_DROP_NO_SERVICE, Dropped, "no-service", "no service on this port"),
        (reason::REASON_DROP_NO_FLOW, Dropped, "no-flow", "RST of an unknown connection"),
        (reason::REASON_DROP_NO_SERVER, Dropped, "no-server", "no server can take the flow"),
        (reason::REASON_DROP_DOWN, Dropped, "down", "the flow's server has failed"),
        (reason::REASON_DROP_PROTOCOL, Dropped, "protocol", "to a virtual address, neither TCP, UDP nor ICMP"),
        (reason::REASON_DROP_FRAGMENT, Dropped, "fragment", "later fragment without its first"),
        (reason::REASON_DROP_TTL, Dropped, "ttl", "time to live exceeded"),
        (
            reason::REASON_DROP_NAT_COLLISION,
            Dropped,
            "nat-collision",
            "the client's port is in use at the server by another flow",
        ),
        (
            reason::REASON_DROP_SNAT_EXHAUSTED,
            Dropped,
            "source-nat-exhausted",
            "no free port among the source-nat addresses",
        ),
        (reason::REASON_DROP_ICMP_UNKNOWN, Dropped, "icmp-unknown", "ICMP error that quotes no flow of ours"),
        (reason::REASON_DROP_NO_PLACE, Dropped, "no-place", "the server's MAC or port is not known"),
        (reason::REASON_DROP_EGRESS, Dropped, "egress", "the port to leave by is gone or blocked"),
        (reason::REASON_DROP_FRAME, Dropped, "frame", "the driver refused to resize the frame"),
        (reason::REASON_TABLE_FULL, Event, "table-full", "a connection could not be entered: the table is full"),
        (
            reason::REASON_EMBRYO_EVICTED,
            Event,
            "embryo-evicted",
            "an unfinished handshake was overwritten by a newer one",
        ),
        (reason::REASON_FLOW_ENTERED, Event, "flow-entered", "a connection was entered in the table as established"),
        (reason::REASON_FLOW_REMOVED, Event, "flow-removed", "a connection left the table"),
        (
            reason::REASON_NOT_MIGRATED,
            Event,
            "not-migrated",
            "nobody in the pool that a client migrates to could take it: the service's own pool did",
        ),
        (
            reason::REASON_SERVED_LATE,
            Event,
            "served-late",
            "a frame to this box's MAC after it lost its lease, within the time in which it serves on",
        ),
        (reason::REASON_TOKEN_WRONG, Event, "token-wrong", "a release token that is not the one"),
        (
            reason::REASON_TOKEN_EARLY,
            Event,
            "token-early",
            "the release token, but the daemon lives, or the lease ends by itself",
        ),
        (reason::REASON_RELEASED, Event, "released", "the peer ended the lease of this box's dead daemon"),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_program_has_a_name_of_its_own() {
        let numbers: Vec<u32> = REASONS.iter().map(|(r, ..)| r.0).collect();
        assert_eq!(numbers, (0..reason::REASON_MAX.0).collect::<Vec<_>>());
        let names: std::collections::BTreeSet<(&str, &str)> =
            REASONS.iter().map(|(_, v, n, _)| (v.name(), *n)).collect();
        assert_eq!(names.len(), REASONS.len());
    }
}
