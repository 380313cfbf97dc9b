//! The data plane: packets by their fate, the connection table, the ports; and the probes.

use prometheus::proto::Metric;

use super::families::{Families, distribution, flag, float, sample};
use crate::core::control::State;
use crate::core::control::state::{InterfaceState, PacketCount, PortTraffic};
use crate::core::control::word::Word;

pub fn packets(state: &State, families: &mut Families) {
    let (events, packets): (Vec<&PacketCount>, Vec<&PacketCount>) =
        state.packets.iter().partition(|count| count.verdict == "event");
    families.counter(
        "lbd_packets_total",
        "What became of every packet that came in, and why, since the data plane was first loaded.",
        packets.iter().map(|p| sample(&[("verdict", p.verdict), ("reason", p.reason)], float(p.count))).collect(),
    );
    families.counter(
        "lbd_events_total",
        "What happened in the data plane besides a packet's fate, since it was first loaded.",
        events.iter().map(|event| sample(&[("reason", event.reason)], float(event.count))).collect(),
    );
}

pub fn table(state: &State, families: &mut Families) {
    let table = &state.table;
    let one = |value| vec![sample(&[], value)];
    families.gauge(
        "lbd_table_entries",
        "Connections in the table, closed ones that wait for stragglers included.",
        one(float(table.entries)),
    );
    families.gauge("lbd_table_capacity", "Connections that fit into the table.", one(float(table.capacity)));
    families.gauge(
        "lbd_table_embryonic_entries",
        "Connections in a handshake; they have a table of their own.",
        one(float(table.embryonic)),
    );
    families.gauge(
        "lbd_table_embryonic_capacity",
        "Connections in a handshake that fit into their table.",
        one(float(table.embryonic_capacity)),
    );
    let event = |reason: &str| state.packets.iter().filter(|p| p.verdict == "event").find(|p| p.reason == reason);
    let event_count = |reason| event(reason).map(|event| sample(&[], float(event.count))).into_iter().collect();
    families.counter(
        "lbd_table_inserts_total",
        "Connections that were entered in the table, since the data plane was first loaded.",
        event_count("flow-entered"),
    );
    families.counter(
        "lbd_table_removals_total",
        "Connections that left the table, whatever the reason, since the data plane was first loaded.",
        event_count("flow-removed"),
    );
    let overwritten =
        event("embryo-evicted").map(|event| sample(&[("reason", "handshake-overwritten")], float(event.count)));
    let by_daemon = [("expired", table.sweep.removed), ("server-down", table.reset)];
    let by_daemon = by_daemon.map(|(reason, count)| sample(&[("reason", reason)], float(count)));
    families.counter(
        "lbd_table_evictions_total",
        "Connections that were taken out: handshakes overwritten for want of room, since the data plane was first \
         loaded; expired ones, and those of servers that are down, since the daemon started.",
        overwritten.into_iter().chain(by_daemon).collect(),
    );
    families.counter(
        "lbd_sweeps_total",
        "Complete walks over the table that remove expired connections, since the daemon started.",
        one(float(table.sweep.completed)),
    );
    families.counter(
        "lbd_sweep_removed_total",
        "Expired connections removed by the sweep, since the daemon started.",
        one(float(table.sweep.removed)),
    );
    families.gauge(
        "lbd_sweep_duration_seconds",
        "Time that the latest complete sweep took.",
        table.sweep.last_duration_seconds.map(|seconds| sample(&[], seconds)).into_iter().collect(),
    );
}

pub fn interfaces(state: &State, families: &mut Families) {
    let each = |value: &dyn Fn(&InterfaceState) -> f64| -> Vec<Metric> {
        state.interfaces.iter().map(|i| sample(&[("interface", &i.name)], value(i))).collect()
    };
    let xdp = state.interfaces.iter().map(|i| sample(&[("interface", &i.name), ("mode", i.xdp.word())], 1.0));
    families.gauge(
        "lbd_interface_xdp",
        "How the XDP program sits on an interface, as a label: native, generic, or none; always 1.",
        xdp.collect(),
    );
    families.gauge(
        "lbd_interface_forwarding",
        "1 if the interface is up and its bridge lets it forward.",
        each(&|interface| flag(interface.forwarding)),
    );
    families.counter(
        "lbd_interface_redirect_lost_packets_total",
        "Frames that the driver or the map lost after the program had sent them on.",
        each(&|interface| float(interface.lost_after_redirect)),
    );
    let each_way = |value: &dyn Fn(&PortTraffic) -> u64| -> Vec<Metric> {
        let ports = state.interfaces.iter().filter(|port| port.counted_seconds_ago.is_some());
        ports
            .flat_map(|port| {
                [("in", &port.received), ("out", &port.sent)].map(|(direction, traffic)| {
                    sample(&[("interface", &port.name), ("direction", direction)], float(value(traffic)))
                })
            })
            .collect()
    };
    families.counter(
        "lbd_interface_packets_total",
        "Frames that a port has received (in) and sent (out), as the kernel counts, balanced ones included.",
        each_way(&|traffic| traffic.packets),
    );
    families.counter("lbd_interface_bytes_total", "Bytes of these frames.", each_way(&|traffic| traffic.bytes));
    families.counter(
        "lbd_interface_errors_total",
        "Frames that came in damaged, or could not be sent because of the medium.",
        each_way(&|traffic| traffic.errors),
    );
    families.counter(
        "lbd_interface_dropped_packets_total",
        "Sound frames that the kernel or the driver dropped for want of room.",
        each_way(&|traffic| traffic.dropped),
    );
}

pub fn probes(state: &State, families: &mut Families) {
    let results = state.probes.iter().flat_map(|probe| {
        let failures = probe.failures_by_kind.iter().map(|(kind, count)| (*kind, *count));
        std::iter::once(("success", probe.successes))
            .chain(failures)
            .map(|(result, count)| sample(&[("protocol", probe.protocol), ("result", result)], float(count)))
    });
    families.counter(
        "lbd_probes_total",
        "Probes of all servers since the daemon started, by protocol and result: success, or the kind of failure.",
        results.collect(),
    );
    let times = state.probes.iter().map(|probe| {
        let classes: Vec<(f64, u64)> =
            probe.took.iter().filter_map(|class| Some((class.up_to_seconds?, class.count))).collect();
        distribution(&[("protocol", probe.protocol)], &classes, probe.successes, probe.took_seconds)
    });
    families.histogram(
        "lbd_probe_duration_seconds",
        "Time that successful probes took, from the first packet to the verdict.",
        times.collect(),
    );
}
