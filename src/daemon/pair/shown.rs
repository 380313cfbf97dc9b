//! The pair in words and figures, for faces.

use super::health::Difference;
use super::stream::StreamReport;
use super::thread::{PathReport, Report};
use crate::core::control::{PairHealthState, PairState, PathState, PeerState, SyncState};
use crate::daemon::appliance::Appliance;
use crate::pair::heartbeat::{LeaseLeft, State};
use crate::pair::time::{Instant, Span};

pub fn shown(report: &Report, stream: &StreamReport, health: Difference, appliance: &Appliance) -> PairState {
    let status = &report.status;
    let dead = appliance.config.pair.as_ref().map_or(Span::ZERO, |pair| super::span(pair.dead));
    let own_revision = appliance.common_revision();
    PairState {
        state: word(status.state),
        since_seconds: seconds(report.at.since(status.since)),
        owns: status.owns,
        alone: status.solo,
        lease: match status.lease {
            LeaseLeft::None => "none",
            LeaseLeft::Finite(_) => "finite",
            LeaseLeft::Endless => "endless",
        },
        lease_seconds: match status.lease {
            LeaseLeft::Finite(left) => Some(seconds(left)),
            _ => None,
        },
        ready: status.ready,
        unready: status.unready.map(str::to_owned),
        peer: status.peer.zip(status.peer_heard).map(|(peer, heard)| PeerState {
            state: word(peer.state),
            owns: peer.owns,
            ready: peer.ready,
            heard_seconds: seconds(heard),
            hears_us_seconds: status.peer_hears_us.map(seconds),
            healthy_pools: peer.pools_healthy,
            uplink_open: peer.uplink_open,
            same_config: peer.config_revision == own_revision,
        }),
        peer_answered_seconds: report.answered.map(|answered| seconds(report.at.since(answered))),
        uplink_open: report.uplink_open,
        protocol: report.version,
        peer_release: appliance.peer_release(),
        key: report.keys.0.0,
        peer_key: report.keys.1.map(|key| key.0),
        paths: report.paths.iter().map(|path| shown_path(path, report.at, dead)).collect(),
        sync: SyncState {
            tells: stream.tells,
            complete: stream.complete,
            progress: stream.progress.map(|progress| [progress.told, progress.of]),
            behind_records: stream.sender.records_behind,
            behind_seconds: std::time::Duration::from_millis(stream.sender.ms_behind).as_secs_f64(),
            left_out: stream.sender.left_out,
            datagrams: stream.sender.datagrams,
            bytes: stream.sender.bytes,
            records: stream.receiver.records,
            unresolved: stream.unresolved,
        },
        config: appliance.config_state(),
        health: PairHealthState { worse_here: health.here, worse_there: health.there },
        became_owner: status.counters.became_owner,
        handed_over: status.counters.handed_over,
        pauses: status.counters.pauses,
        stale: status.counters.stale,
    }
}

fn shown_path(path: &PathReport, now: Instant, dead: Span) -> PathState {
    let view = &path.view;
    let heard = view.heard.map(|heard| now.since(heard));
    PathState {
        name: path.name.clone(),
        alive: heard.is_some_and(|heard| heard < dead),
        sent: view.sent,
        received: view.received,
        lost: view.lost,
        refused: view.refused.iter().sum::<u64>() + view.damaged,
        delay_seconds: view.delay.map(|delay| seconds(delay.smoothed)),
        heard_seconds: heard.map(seconds),
        trouble: path.trouble.clone(),
    }
}

/// Whether the other box could own; else why not.
pub fn hand_over_possible(report: Option<&Report>) -> Result<(), String> {
    let Some(report) = report else { return Err("the pair's thread has not begun yet".into()) };
    let status = &report.status;
    if !status.owns {
        return Err("this box owns nothing; order it on the other one".into());
    }
    match &status.peer {
        None => Err("the other box was never heard".into()),
        Some(peer) if !peer.ready => {
            Err(format!("the other box is not ready to own, its state is {}", word(peer.state)))
        }
        Some(_) => Ok(()),
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Init => "init",
        State::Standby => "standby",
        State::Claiming => "claiming",
        State::Active => "active",
        State::Fault => "fault",
        State::Maintenance => "maintenance",
        State::Leaving => "leaving",
    }
}

fn seconds(span: Span) -> f64 {
    std::time::Duration::from_nanos(span.0).as_secs_f64()
}
