//! Families with a series for each member of each service: of 10,000 members, 160,000 series.
//!
//! They are written as text at once. The crate `prometheus`, which writes all others, first makes an object with some ten
//! allocations of each sample, and that was most of what a scrape cost (`make bench-scrape`; docs/monitoring.md has the figure).

use std::fmt::Write;

use super::families::{Labels, flag, float, service_labels};
use crate::core::admin::AdminState;
use crate::core::check;
use crate::core::control::State;
use crate::core::control::state::{CheckState, MemberState};

/// Bytes of all series of a member, about: names may be longer.
const TEXT_EACH: usize = 1_600;

/// Text of one more label, and the number. None: no sample.
type Value = (&'static str, f64);

/// The members, each with its labels as text: `virtual_server="mx",…,server="pc1"`.
struct Members<'a> {
    members: Vec<(String, &'a MemberState)>,
    text: &'a mut String,
}

impl Members<'_> {
    fn gauge<V: IntoIterator<Item = Value>>(&mut self, name: &str, help: &str, values: impl Fn(&MemberState) -> V) {
        self.family(name, help, "gauge", values);
    }

    fn counter<V: IntoIterator<Item = Value>>(&mut self, name: &str, help: &str, values: impl Fn(&MemberState) -> V) {
        self.family(name, help, "counter", values);
    }

    /// A family without samples is left out: the format has no use for it.
    fn family<V: IntoIterator<Item = Value>>(
        &mut self,
        name: &str,
        help: &str,
        kind: &str,
        values: impl Fn(&MemberState) -> V,
    ) {
        let before = self.text.len();
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        let head = self.text.len();
        for (labels, member) in &self.members {
            for (label, value) in values(member) {
                for part in [name, "{", labels, label, "} "] {
                    self.text.push_str(part);
                }
                let _ = writeln!(self.text, "{value}");
            }
        }
        if self.text.len() == head {
            self.text.truncate(before);
        }
    }
}

/// As the format wants it between quotation marks; names of the configuration have nothing to escape.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

fn one(value: f64) -> Option<Value> {
    Some(("", value))
}

fn ways(into: u64, out: u64) -> [Value; 2] {
    [(r#",direction="in""#, float(into)), (r#",direction="out""#, float(out))]
}

fn each_member(state: &State) -> impl Iterator<Item = (Labels<'_, 4>, &MemberState)> {
    state.services.iter().flat_map(|service| {
        let [virtual_server, name, family] = service_labels(service);
        service.members.iter().map(move |m| ([virtual_server, name, family, ("server", m.server.as_str())], m))
    })
}

/// Appends the families of the members.
pub fn members(state: &State, text: &mut String) {
    let labels = |labels: &[(&str, &str)]| {
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect::<Vec<_>>().join(",")
    };
    let members: Vec<_> = each_member(state).map(|(pairs, member)| (labels(&pairs), member)).collect();
    text.reserve(members.len() * TEXT_EACH);
    let mut members = Members { members, text };
    members.gauge(
        "lbd_service_connections_active",
        "Established connections of a service on a server, neither closed nor reset.",
        |m| one(float(m.connections.active)),
    );
    members.gauge("lbd_service_connections_pending", "Connections in a handshake, of a service on a server.", |m| {
        one(float(m.connections.pending))
    });
    members.counter(
        "lbd_service_connections_scheduled_total",
        "Connections that a service gave to a server, since the data plane was first loaded.",
        |m| one(float(m.connections.total)),
    );
    members.counter(
        "lbd_service_packets_total",
        "Packets of a service to (in) and from (out) a server. In DSR the server answers past the balancer: none are out.",
        |m| ways(m.traffic.packets_in, m.traffic.packets_out),
    );
    members.counter(
        "lbd_service_bytes_total",
        "Bytes of the packets in lbd_service_packets_total, whole frames.",
        |m| ways(m.traffic.bytes_in, m.traffic.bytes_out),
    );
    members.gauge(
        "lbd_member_up",
        "1 if the server's probe for this service says up; 0 if it says down or has not come back yet.",
        |m| one(flag(m.state == check::State::Up)),
    );
    members.gauge(
        "lbd_member_draining",
        "1 if the operator drains the server: it keeps its connections and gets no new ones.",
        |m| one(flag(m.admin == AdminState::Draining)),
    );
    members.gauge("lbd_member_disabled", "1 if the operator has disabled the server: it is treated as failed.", |m| {
        one(flag(m.admin == AdminState::Disabled))
    });
    members.gauge(
        "lbd_member_scheduled",
        "1 if the server gets new connections of this service. /api/v1/state says why or why not.",
        |m| one(flag(m.scheduled)),
    );
    members.gauge(
        "lbd_member_weight",
        "Share of new connections at this moment: less than configured in slow start, 0 if it gets none.",
        |m| one(m.effective_weight),
    );
    members.counter(
        "lbd_member_checks_total",
        "Probes since the daemon started. One that serves several services is counted with each.",
        |m| {
            let sum = |of: fn(&CheckState) -> u64| float(m.checks.iter().map(of).sum());
            [(r#",result="success""#, sum(|c| c.successes)), (r#",result="failure""#, sum(|c| c.failures))]
        },
    );
    members.gauge("lbd_member_check_duration_seconds", "Time that the latest probe took.", |m| {
        m.checks.iter().filter_map(|c| c.last_duration_seconds).reduce(f64::max).and_then(one)
    });
    members.gauge(
        "lbd_member_flapping",
        "1 while the server answers and is held down because it has failed too often; absent without a probe.",
        |m| one(flag(m.checks.iter().any(|c| c.held_seconds.is_some()))).filter(|_| !m.checks.is_empty()),
    );
    members.gauge(
        "lbd_member_certificate_expiry_timestamp_seconds",
        "When the certificate that the server showed its probe ends, Unix time; absent without TLS.",
        |m| m.checks.iter().filter_map(|c| c.certificate_ends_at).min().map(float).and_then(one),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_is_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
    }
}
