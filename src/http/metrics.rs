//! `State` as Prometheus reads it.
//!
//! Every scrape makes all families anew from the state of that moment. There is no registry, because
//! what it would keep could be stale: a server that has left the configuration has no series.
//!
//! Labels are names from the configuration or words of this program, so that their number is bounded;
//! never a client's address.

mod pair;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Error, TextEncoder};

use crate::core::admin::AdminState;
use crate::core::check;
use crate::core::control::State;
use crate::core::control::state::{CheckState, InterfaceState, MemberState, OrderState, PacketCount, ServiceState};
use crate::core::control::word::Word;

/// The state in the text format 0.0.4.
pub fn text(state: &State) -> Result<String, Error> {
    TextEncoder::new().encode_to_string(&families(state))
}

fn families(state: &State) -> Vec<MetricFamily> {
    let mut families = Families::default();
    daemon(state, &mut families);
    services(state, &mut families);
    servers(state, &mut families);
    orders(state, &mut families);
    packets(state, &mut families);
    table(state, &mut families);
    interfaces(state, &mut families);
    if let Some(state) = &state.pair {
        pair::pair(state, &mut families);
    }
    families.0
}

fn daemon(state: &State, families: &mut Families) {
    let one = |labels: &[(&'static str, &str)], value| vec![sample(labels, value)];
    families.gauge("lbd_build_info", "Version of the program; always 1.", one(&[("version", &state.version)], 1.0));
    families.gauge(
        "lbd_role",
        "What this box does in the pair, as a label; always 1.",
        one(&[("role", state.role.word())], 1.0),
    );
    families.gauge(
        "lbd_start_time_seconds",
        "When the daemon started, Unix time; the data plane may be older.",
        one(&[], float(state.started_at)),
    );
    families.gauge("lbd_uptime_seconds", "Time since the daemon started.", one(&[], float(state.uptime_seconds)));
    families.gauge(
        "lbd_data_plane_adopted",
        "1 if the daemon took over a running data plane when it started.",
        one(&[], flag(state.adopted)),
    );
    families.gauge("lbd_warnings", "Warnings in /api/v1/state now.", one(&[], float(state.warnings.len() as u64)));
    let config = &state.config;
    families.gauge(
        "lbd_config_revision",
        "Configurations that came into force since the daemon started.",
        one(&[], float(config.revision)),
    );
    families.gauge(
        "lbd_config_loaded_timestamp_seconds",
        "When the configuration in force was loaded, Unix time.",
        one(&[], float(config.loaded_at)),
    );
    families.gauge(
        "lbd_config_last_reload_successful",
        "1 if the latest attempt to load a configuration succeeded; 0: the one before is still in force.",
        one(&[], flag(config.last_reload_ok)),
    );
    families.gauge(
        "lbd_config_last_reload_timestamp_seconds",
        "When the latest attempt to load a configuration was made, Unix time.",
        one(&[], float(config.last_reload_at)),
    );
}

fn services(state: &State, families: &mut Families) {
    let info = state.services.iter().map(|service| {
        let mut labels = service_labels(service).to_vec();
        labels.push(("protocol", service.protocol.word()));
        labels.push(("mode", service.mode.word()));
        labels.push(("scheduler", service.scheduler.word()));
        labels.push(("pool", &service.pool));
        sample(&labels, 1.0)
    });
    families.gauge("lbd_service_info", "How a service is configured, as labels; always 1.", info.collect());

    let members = |value: &dyn Fn(&MemberState) -> Option<f64>| -> Vec<Metric> {
        each_member(state).filter_map(|(labels, member)| Some(sample(&labels, value(member)?))).collect()
    };
    let split = |label: &'static str, values: &dyn Fn(&MemberState) -> Vec<(&'static str, u64)>| -> Vec<Metric> {
        each_member(state)
            .flat_map(|(labels, member)| {
                values(member).into_iter().map(move |(word, value)| {
                    let mut labels = labels.to_vec();
                    labels.push((label, word));
                    sample(&labels, float(value))
                })
            })
            .collect()
    };
    families.gauge(
        "lbd_service_connections_active",
        "Established connections of a service on a server, neither closed nor reset.",
        members(&|member| Some(float(member.connections.active))),
    );
    families.gauge(
        "lbd_service_connections_pending",
        "Connections in a handshake, of a service on a server.",
        members(&|member| Some(float(member.connections.pending))),
    );
    families.counter(
        "lbd_service_connections_scheduled_total",
        "Connections that a service gave to a server, since the data plane was first loaded.",
        members(&|member| Some(float(member.connections.total))),
    );
    families.counter(
        "lbd_service_packets_total",
        "Packets of a service to (in) and from (out) a server. In DSR the server answers past the balancer: none are out.",
        split("direction", &|m| vec![("in", m.traffic.packets_in), ("out", m.traffic.packets_out)]),
    );
    families.counter(
        "lbd_service_bytes_total",
        "Bytes of the packets in lbd_service_packets_total, whole frames.",
        split("direction", &|m| vec![("in", m.traffic.bytes_in), ("out", m.traffic.bytes_out)]),
    );
    families.gauge(
        "lbd_member_up",
        "1 if the server's probe for this service says up; 0 if it says down or has not come back yet.",
        members(&|member| Some(flag(member.state == check::State::Up))),
    );
    families.gauge(
        "lbd_member_draining",
        "1 if the operator drains the server: it keeps its connections and gets no new ones.",
        members(&|member| Some(flag(member.admin == AdminState::Draining))),
    );
    families.gauge(
        "lbd_member_disabled",
        "1 if the operator has disabled the server: it is treated as failed.",
        members(&|member| Some(flag(member.admin == AdminState::Disabled))),
    );
    families.gauge(
        "lbd_member_scheduled",
        "1 if the server gets new connections of this service. /api/v1/state says why or why not.",
        members(&|member| Some(flag(member.scheduled))),
    );
    families.gauge(
        "lbd_member_weight",
        "Share of new connections at this moment: less than configured in slow start, 0 if it gets none.",
        members(&|member| Some(member.effective_weight)),
    );
    families.counter(
        "lbd_member_checks_total",
        "Probes since the daemon started. One that serves several services is counted with each.",
        split("result", &|m| {
            let sum = |of: fn(&CheckState) -> u64| m.checks.iter().map(of).sum();
            vec![("success", sum(|c| c.successes)), ("failure", sum(|c| c.failures))]
        }),
    );
    families.gauge(
        "lbd_member_check_duration_seconds",
        "Time that the latest probe took.",
        members(&|m| m.checks.iter().filter_map(|c| c.last_duration_seconds).reduce(f64::max)),
    );
}

fn servers(state: &State, families: &mut Families) {
    let active = state.servers.iter().map(|s| sample(&[("server", &s.name)], float(s.connections)));
    families.gauge(
        "lbd_server_connections_active",
        "Established connections of a server, over all its services.",
        active.collect(),
    );
    let limited = state.servers.iter().filter(|s| s.max_connections > 0);
    families.gauge(
        "lbd_server_connections_limit",
        "Most established connections that a server may have; absent where there is no limit.",
        limited.map(|s| sample(&[("server", &s.name)], f64::from(s.max_connections))).collect(),
    );
}

fn orders(state: &State, families: &mut Families) {
    let drains = |value: &dyn Fn(&OrderState) -> Option<u64>| -> Vec<Metric> {
        let drains = state.orders.iter().filter(|order| order.admin == AdminState::Draining);
        let labels = |order: &OrderState| (order.server.clone(), order.pool.clone().unwrap_or_default());
        drains
            .filter_map(|order| {
                let (server, pool) = labels(order);
                Some(sample(&[("server", &server), ("pool", &pool)], float(value(order)?)))
            })
            .collect()
    };
    families.gauge(
        "lbd_drain_connections_left",
        "Connections that a drain has left, handshakes and UDP flows included; pool is empty for a drain of the whole server.",
        drains(&|order| Some(order.connections)),
    );
    families.gauge(
        "lbd_drain_connections_at_begin",
        "Connections that there were when the drain was ordered.",
        drains(&|order| Some(order.connections_at_begin)),
    );
    families.gauge(
        "lbd_drain_start_timestamp_seconds",
        "When the drain was ordered, Unix time.",
        drains(&|order| Some(order.since)),
    );
    families.gauge(
        "lbd_drain_deadline_timestamp_seconds",
        "When what is left is reset, Unix time; absent without a deadline.",
        drains(&|order| order.deadline_at),
    );
    families.gauge(
        "lbd_drain_projected_end_timestamp_seconds",
        "When the last connection will probably be gone, Unix time; absent while that cannot be told.",
        drains(&|order| order.end_likely_at),
    );
}

fn packets(state: &State, families: &mut Families) {
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

fn table(state: &State, families: &mut Families) {
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

fn interfaces(state: &State, families: &mut Families) {
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
}

type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

fn service_labels(service: &ServiceState) -> Labels<'_, 3> {
    [("virtual_server", &service.virtual_server), ("service", &service.service), ("family", service.family.word())]
}

fn each_member(state: &State) -> impl Iterator<Item = (Labels<'_, 4>, &MemberState)> {
    state.services.iter().flat_map(|service| {
        let [virtual_server, name, family] = service_labels(service);
        service.members.iter().map(move |m| ([virtual_server, name, family, ("server", m.server.as_str())], m))
    })
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// Exact up to 2⁵³; Prometheus has no other numbers.
fn float(value: u64) -> f64 {
    value as f64
}

/// A number with its labels; which kind of metric it is comes with the family.
fn sample(labels: &[(&'static str, &str)], value: f64) -> Metric {
    let mut metric = Metric::default();
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    metric.set_label(pairs.collect());
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl Families {
    fn gauge(&mut self, name: &str, help: &str, samples: Vec<Metric>) {
        self.add(MetricType::GAUGE, name, help, samples);
    }

    fn counter(&mut self, name: &str, help: &str, mut samples: Vec<Metric>) {
        for metric in &mut samples {
            let mut counter = Counter::default();
            counter.set_value(metric.get_gauge().get_value());
            metric.set_counter(counter);
        }
        self.add(MetricType::COUNTER, name, help, samples);
    }

    /// A family without samples is left out: the format has no use for it.
    fn add(&mut self, kind: MetricType, name: &str, help: &str, samples: Vec<Metric>) {
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(samples);
        self.0.push(family);
    }
}
