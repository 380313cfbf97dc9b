//! A state in which every field says something.

use lbd::config::{Mac, Mode, Ports, Protocol, Scheduler};
use lbd::core::admin::{AdminState, Then};
use lbd::core::check;
use lbd::core::control::state::*;
use lbd::core::control::{
    HistoryState, LogServerState, LoggingState, LoginState, PairConfigState, PairHealthState, PairState, PathState,
    PeerState, ServerHistory, State, SyncState,
};
use lbd::core::forwarding::Family;

pub fn state() -> State {
    State {
        version: "0.1.0".into(),
        hostname: "lb1".into(),
        role: Role::Active,
        config: ConfigState {
            revision: 3,
            loaded_at: 1_795_000_000,
            last_reload_ok: false,
            last_reload_at: 1_795_000_600,
            unsaved: true,
        },
        started_at: 1_794_990_000,
        uptime_seconds: 11_000,
        adopted: true,
        services: vec![smtp(), dns()],
        pools: vec![PoolState {
            name: "mx".into(),
            scheduler: Scheduler::LeastConnections,
            slow_start_seconds: 30,
            check: "tcp every 2 s, timeout 1 s, rise 2, fall 3".into(),
            members: vec!["pc2".into(), "pc4".into()],
            services: vec!["mail/smtp".into()],
            members_up: Some(1),
            members_scheduled: Some(1),
            members_min: 2,
        }],
        servers: ["pc2", "pc4"].map(server).into(),
        orders: vec![
            OrderState {
                server: "pc4".into(),
                pool: None,
                admin: AdminState::Draining,
                since: 1_795_000_100,
                connections_at_begin: 130_000,
                connections: 110_008,
                finished: false,
                deadline_at: Some(1_795_001_900),
                then: Then::Remove,
                end_earliest_at: Some(1_795_001_200),
                end_likely_at: Some(1_795_001_700),
                end_latest_at: Some(1_795_001_900),
                idle_timeout_seconds: 2_400,
            },
            OrderState {
                server: "pc2".into(),
                pool: Some("cache".into()),
                admin: AdminState::Draining,
                since: 1_795_000_200,
                connections_at_begin: 3,
                connections: 0,
                finished: true,
                deadline_at: None,
                then: Then::Nothing,
                end_earliest_at: None,
                end_likely_at: None,
                end_latest_at: None,
                idle_timeout_seconds: 60,
            },
        ],
        interfaces: vec![InterfaceState {
            name: "swp1".into(),
            index: 3,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            xdp: XdpAttachment::Native,
            forwarding: true,
            lost_after_redirect: 7,
            received: PortTraffic { packets: 70_000, bytes: 9_000_000, errors: 1, dropped: 2 },
            sent: PortTraffic { packets: 60_000, bytes: 80_000_000, errors: 0, dropped: 7 },
            counted_seconds_ago: Some(0.5),
        }],
        table: TableState {
            entries: 220_000,
            capacity: 262_144,
            embryonic: 12,
            embryonic_capacity: 65_536,
            sweep: SweepState { completed: 40, removed: 99_000, last_duration_seconds: Some(0.125) },
            reset: 17,
        },
        packets: vec![
            PacketCount { verdict: "forwarded", reason: "to-server", meaning: "to a server", count: 5_000_000 },
            PacketCount { verdict: "dropped", reason: "ttl", meaning: "time to live exceeded", count: 2 },
            PacketCount {
                verdict: "event",
                reason: "table-full",
                meaning: "a connection could not be entered: the table is full",
                count: 1,
            },
            PacketCount { verdict: "event", reason: "embryo-evicted", meaning: "overwritten", count: 5 },
            PacketCount { verdict: "event", reason: "flow-entered", meaning: "entered", count: 8_000_000 },
            PacketCount { verdict: "event", reason: "flow-removed", meaning: "left", count: 7_780_000 },
        ],
        probes: vec![ProbeTally {
            protocol: "smtp",
            successes: 5_400,
            failures_by_kind: [("refused", 3), ("timeout", 1)].into(),
            took: vec![
                TimeClass { up_to_seconds: Some(0.0005), count: 5_000 },
                TimeClass { up_to_seconds: Some(0.01), count: 5_399 },
                TimeClass { up_to_seconds: None, count: 5_400 },
            ],
            took_seconds: 3.25,
        }],
        daemon: DaemonState {
            cpu_seconds: 12.5,
            resident_bytes: 48_000_000,
            open_files: 61,
            open_files_max: 1_048_576,
            threads: 9,
            lag_seconds: 0.002,
            turn_seconds: 0.0035,
        },
        clock: ClockState { unix_seconds: 1_795_001_000.25, synchronized: Some(true), error_max_seconds: Some(0.0125) },
        logins: vec![
            LoginState { door: "ssh", accepted: 4, refused: 2 },
            LoginState { door: "enable", accepted: 1, refused: 0 },
            LoginState { door: "http", accepted: 0, refused: 0 },
        ],
        pair: Some(pair()),
        logging: LoggingState {
            servers: vec![LogServerState {
                address: "192.0.2.9:6514".parse().unwrap(),
                transport: "tls",
                severity: "informational",
                connected: true,
                sent: 900,
                lost: 3,
                queued: 1,
                trouble: None,
            }],
            events_unwritten: 0,
        },
        http_certificate_ends_at: Some(1_800_000_000),
        warnings: vec![
            "the connection table is 84 % full; above 100 % connections are sent by their hash alone".into(),
        ],
    }
}

/// Two points of two servers, one of which came later.
pub fn history() -> HistoryState {
    let server = |name: &str, connections: [Option<u32>; 2], down: [Option<f64>; 2]| ServerHistory {
        name: name.into(),
        connections: connections.into(),
        down: down.into(),
    };
    HistoryState {
        step_seconds: 15,
        at: vec![1_795_000_970, 1_795_000_985],
        servers: vec![
            server("pc2", [Some(109_000), Some(110_000)], [Some(0.5), Some(0.0)]),
            server("pc4", [None, Some(110_000)], [None, Some(0.0)]),
        ],
    }
}

fn server(name: &str) -> ServerState {
    let last = if name == "pc2" { 2 } else { 4 };
    ServerState {
        name: name.into(),
        address: Some([10, 1, 0, last].into()),
        address6: None,
        weight: 10,
        admin: AdminState::Enabled,
        max_connections: if name == "pc2" { 5_000 } else { 0 },
        connections: 110_000,
    }
}

fn smtp() -> ServiceState {
    let up = MemberState {
        server: "pc2".into(),
        pool: "mx".into(),
        address: Some([10, 1, 0, 2].into()),
        port: Some(25),
        weight: 10,
        effective_weight: 4.0,
        backup: false,
        state: check::State::Up,
        since_seconds: 12,
        admin: AdminState::Enabled,
        scheduled: true,
        why: "scheduled at 40 % of its weight (slow start)".into(),
        checks: vec![CheckState {
            question: "tcp 10.1.0.2:25".into(),
            state: check::State::Up,
            since_seconds: 600,
            cause: "connection opened".into(),
            last: Some("tcp: connection opened, after 500 µs".into()),
            last_age_seconds: Some(0.75),
            last_duration_seconds: Some(0.0005),
            next_seconds: 1.25,
            held_seconds: None,
            success_ratio: Some(0.984375),
            latency: Some(Latency { p50_seconds: 0.0005, p90_seconds: 0.001, p99_seconds: 0.002 }),
            certificate_days: Some(29),
            certificate_ends_at: Some(1_797_592_000),
            successes: 5_400,
            failures: 3,
            failures_by_kind: [("refused".to_owned(), 3)].into(),
        }],
        mac: Some(Mac([2, 0, 0, 0, 1, 2])),
        interface: Some("swp1".into()),
        vlan: Some(0),
        connections: Connections { active: 110_000, pending: 8, total: 4_000_000 },
        traffic: Traffic { packets_in: 9_000, bytes_in: 1_000_000, packets_out: 8_000, bytes_out: 2_000_000 },
    };
    let drained = MemberState {
        server: "pc4".into(),
        address: Some([10, 1, 0, 4].into()),
        effective_weight: 0.0,
        state: check::State::Unknown,
        admin: AdminState::Draining,
        scheduled: false,
        why: "draining: keeps its connections, gets no new ones".into(),
        checks: Vec::new(),
        mac: None,
        interface: None,
        vlan: None,
        ..up.clone()
    };
    ServiceState {
        virtual_server: "mail".into(),
        service: "smtp".into(),
        family: Family::V4,
        protocol: Protocol::Tcp,
        addresses: vec![[192, 0, 2, 10].into()],
        ports: Ports::single(25),
        mode: Mode::Nat,
        scheduler: Scheduler::LeastConnections,
        pool: "mx".into(),
        connections: Connections { active: 220_000, pending: 16, total: 8_000_000 },
        members: vec![up, drained],
    }
}

fn dns() -> ServiceState {
    ServiceState {
        virtual_server: "resolver".into(),
        service: "dns".into(),
        family: Family::V6,
        protocol: Protocol::Udp,
        addresses: vec!["2001:db8::53".parse().unwrap()],
        ports: Ports { first: 53, last: 54 },
        mode: Mode::Dsr,
        scheduler: Scheduler::Maglev,
        pool: "cache".into(),
        connections: Connections::default(),
        members: Vec::new(),
    }
}

fn pair() -> PairState {
    let peer = PeerState {
        state: "standby",
        owns: false,
        ready: true,
        heard_seconds: 0.025,
        hears_us_seconds: Some(0.03),
        healthy_pools: 2,
        uplink_open: false,
        same_config: true,
    };
    let path = PathState {
        name: "cross".into(),
        alive: true,
        sent: 72_000,
        received: 71_990,
        lost: 10,
        refused: 1,
        delay_seconds: Some(0.00025),
        heard_seconds: Some(0.025),
        trouble: None,
    };
    PairState {
        state: "active",
        since_seconds: 3600.0,
        owns: true,
        alone: false,
        lease: "finite",
        lease_seconds: Some(0.22),
        ready: true,
        unready: None,
        peer: Some(peer),
        peer_answered_seconds: Some(0.75),
        uplink_open: true,
        protocol: 1,
        peer_release: Some("0.2.0".into()),
        key: 1,
        health: PairHealthState { worse_here: vec!["mx/smtp/4/pc3".into()], worse_there: Vec::new() },
        peer_key: Some(2),
        paths: vec![path],
        sync: SyncState { tells: true, behind_records: 12, behind_seconds: 0.004, ..SyncState::default() },
        config: PairConfigState {
            revision: 7,
            hash: "0123456789abcdef".into(),
            standing: "ahead",
            trouble: None,
            peer_revision: Some(6),
            peer_hash: Some("fedcba9876543210".into()),
            progress: Some([3, 12]),
            copied: 2,
        },
        became_owner: 1,
        handed_over: 0,
        pauses: 0,
        stale: 3,
    }
}
