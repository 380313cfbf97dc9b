//! The pair: who owns, who is ready, and how the two hear each other.

use super::families::{Families, flag, float, sample};
use crate::core::control::{PairConfigState, PairState, PathState};

pub fn pair(state: &PairState, families: &mut Families) {
    let one = |value| vec![sample(&[], value)];
    families.gauge("lbd_pair_state", "State of this box in the pair, as a label; always 1.", {
        vec![sample(&[("state", state.state)], 1.0)]
    });
    families.gauge("lbd_pair_owner", "1 while this box owns the virtual addresses.", one(flag(state.owns)));
    families.gauge("lbd_pair_alone", "1 while this box owns because the other one is silent.", one(flag(state.alone)));
    families.gauge("lbd_pair_ready", "1 while this box owns, or could take over at once.", one(flag(state.ready)));
    let lease = state.lease_seconds.map(|left| sample(&[], left)).into_iter().collect();
    families.gauge("lbd_pair_lease_seconds", "Until the lease ends by itself; absent while it has no end.", lease);
    families.gauge("lbd_pair_uplink_open", "1 while this box's uplinks are open.", one(flag(state.uplink_open)));
    families.gauge(
        "lbd_pair_protocol",
        "Version of the protocol that is spoken with the other box.",
        one(state.protocol.into()),
    );
    peer(state, families);
    let answered = state.peer_answered_seconds.map(|ago| sample(&[], ago)).into_iter().collect();
    families.gauge(
        "lbd_pair_peer_data_plane_answered_seconds",
        "How long ago the other box's data plane answered a question, which it does also when its daemon is dead. It is \
         asked while that box is silent; absent before its first answer.",
        answered,
    );
    paths(&state.paths, families);
    sync(state, families);
    config(&state.config, families);
    let count = |side, members: &[String]| sample(&[("side", side)], members.len() as f64);
    families.gauge(
        "lbd_pair_health_differs",
        "Members that one side sees worse than the other: here, this box; there, the owner. 0 on an owner.",
        vec![count("here", &state.health.worse_here), count("there", &state.health.worse_there)],
    );
    let totals = [
        (
            "lbd_pair_takeovers_total",
            "Times that this box became the owner, since the daemon started.",
            state.became_owner,
        ),
        ("lbd_pair_hand_overs_total", "Times that this box handed over, since the daemon started.", state.handed_over),
        (
            "lbd_pair_pauses_total",
            "Times that the thread of the heartbeats did not run for a while, since the daemon started.",
            state.pauses,
        ),
        ("lbd_pair_stale_total", "Heartbeats that were proved to be old, since the daemon started.", state.stale),
    ];
    for (name, help, value) in totals {
        families.counter(name, help, one(float(value)));
    }
}

/// Absent while the other box was never heard.
fn peer(state: &PairState, families: &mut Families) {
    let of = |value: &dyn Fn(&crate::core::control::PeerState) -> f64| {
        state.peer.iter().map(|peer| sample(&[], value(peer))).collect()
    };
    families.gauge("lbd_pair_peer_owner", "1 if the other box owns, as it said last.", of(&|p| flag(p.owns)));
    families.gauge("lbd_pair_peer_ready", "1 if the other box could own, as it said last.", of(&|p| flag(p.ready)));
    families.gauge("lbd_pair_peer_heard_seconds", "How long ago the other box was heard.", of(&|p| p.heard_seconds));
    let release = state.peer_release.iter().map(|release| sample(&[("version", release)], 1.0)).collect();
    families.gauge(
        "lbd_pair_peer_build_info",
        "Version of lbd that the other box runs; always 1. Absent while the other box is not heard by the network.",
        release,
    );
    families.gauge(
        "lbd_pair_peer_same_config",
        "1 if the other box has the same configuration, apart from what is of one box alone.",
        of(&|p| flag(p.same_config)),
    );
    families.gauge(
        "lbd_pair_peer_healthy_pools",
        "Pools with a healthy server, as the other box sees them.",
        of(&|p| p.healthy_pools.into()),
    );
}

/// The configuration that both boxes have.
fn config(config: &PairConfigState, families: &mut Families) {
    let one = |value| vec![sample(&[], value)];
    families.gauge(
        "lbd_pair_config_same",
        "1 while the other box has the configuration that this box has, apart from what is of one box alone.",
        one(flag(config.standing == "same")),
    );
    families.gauge(
        "lbd_pair_config_standing",
        "How this box's configuration stands to the other's, as a label; always 1.",
        vec![sample(&[("standing", config.standing)], 1.0)],
    );
    families.gauge(
        "lbd_pair_config_changes",
        "Changes that led to the configuration that this box has; 0 while it is blank.",
        one(float(config.revision)),
    );
    families.counter(
        "lbd_pair_config_copied_total",
        "Configurations taken from the other box, since the daemon started.",
        one(float(config.copied)),
    );
}

fn paths(paths: &[PathState], families: &mut Families) {
    let of = |value: &dyn Fn(&PathState) -> Option<f64>| {
        paths.iter().filter_map(|path| Some(sample(&[("path", &path.name)], value(path)?))).collect()
    };
    families.gauge(
        "lbd_pair_path_up",
        "1 while heartbeats of the other box come by this path.",
        of(&|path| Some(flag(path.alive))),
    );
    families.counter("lbd_pair_path_sent_total", "Heartbeats sent.", of(&|path| Some(float(path.sent))));
    families.counter("lbd_pair_path_received_total", "Heartbeats received.", of(&|path| Some(float(path.received))));
    families.counter(
        "lbd_pair_path_lost_total",
        "Heartbeats of the other box that did not come by this path.",
        of(&|path| Some(float(path.lost))),
    );
    families.counter(
        "lbd_pair_path_refused_total",
        "Messages refused: not of this pair, damaged, or replayed.",
        of(&|path| Some(float(path.refused))),
    );
    families.gauge(
        "lbd_pair_path_delay_seconds",
        "Half of a round trip, smoothed; absent while unknown.",
        of(&|path| path.delay_seconds),
    );
}

fn sync(state: &PairState, families: &mut Families) {
    let one = |value| vec![sample(&[], value)];
    let sync = &state.sync;
    families.gauge(
        "lbd_pair_sync_complete",
        "1 while this box, which is told, holds all connections that the other one holds.",
        one(flag(sync.complete)),
    );
    families.gauge(
        "lbd_pair_sync_behind_records",
        "Changes that the other box, which is told, does not have yet.",
        one(float(sync.behind_records)),
    );
    families.gauge("lbd_pair_sync_behind_seconds", "How long the oldest of them has waited.", one(sync.behind_seconds));
    families.gauge(
        "lbd_pair_sync_unresolved",
        "What was told of servers and addresses that this box does not have.",
        one(float(sync.unresolved)),
    );
}
