//! What is true now, as tables.

use std::time::Duration;

use serde_json::{Value, json};
use time::macros::format_description;

use super::{Entry, Refusal, Run, Shown, USER};
use crate::cli::grammar::matcher::Args;
use crate::cli::table::{Align, Table, age, bytes, count, span};
use crate::core::admin::AdminState;
use crate::core::check;
use crate::core::control::state::{CheckState, MemberState, ServiceState};
use crate::core::control::word::Word;
use crate::core::control::{PairState, State};

use Align::{Left, Right};

const SHOW: &str = "Show what there is";
const SERVER: &str = "Load balancing";

pub const ENTRIES: &[Entry] = &[
    Entry {
        level: USER,
        syntax: "show version",
        help: &[SHOW, "Version, and since when it runs"],
        run: Run::Show(version, |state, _| {
            json!({"version": state.version, "hostname": state.hostname, "role": state.role,
                   "started_at": state.started_at, "uptime_seconds": state.uptime_seconds, "config": state.config})
        }),
    },
    Entry {
        level: USER,
        syntax: "show clock",
        help: &[SHOW, "Time of this box"],
        run: Run::Show(|_, _, _| Ok(vec![clock()]), |_, _| json!({"unix_time": unix_time()})),
    },
    Entry {
        level: USER,
        syntax: "show warnings",
        help: &[SHOW, "What an operator should look at"],
        run: Run::Show(|state, _, _| Ok(or_none(state.warnings.clone(), "Nothing")), |state, _| json!(state.warnings)),
    },
    Entry {
        level: USER,
        syntax: "show server real [REAL]",
        help: &[SHOW, SERVER, "Real servers: state, connections, traffic", "One of them"],
        run: Run::Show(real, |state, args| json!(reals(state, args))),
    },
    Entry {
        level: USER,
        syntax: "show server virtual [VIRTUAL]",
        help: &[SHOW, SERVER, "Virtual servers: services, connections", "One of them"],
        run: Run::Show(virtuals, |state, args| json!(services(state, args))),
    },
    Entry {
        level: USER,
        syntax: "show server bind [VIRTUAL]",
        help: &[SHOW, SERVER, "Which servers are behind which service", "Of one virtual server"],
        run: Run::Show(bind, |state, args| json!(services(state, args))),
    },
    Entry {
        level: USER,
        syntax: "show server pool [POOL]",
        help: &[SHOW, SERVER, "Pools", "One of them"],
        run: Run::Show(pool, |state, args| {
            json!(state.pools.iter().filter(|pool| is_named(args, &pool.name)).collect::<Vec<_>>())
        }),
    },
    Entry {
        level: USER,
        syntax: "show server keepalive [REAL]",
        help: &[SHOW, SERVER, "Health checks: the last result, the next", "Of one real server"],
        run: Run::Show(keepalive, |state, args| {
            json!(
                checks(state, args)
                    .into_iter()
                    .map(|(server, check)| json!({"server": server, "check": check}))
                    .collect::<Vec<_>>()
            )
        }),
    },
    Entry {
        level: USER,
        syntax: "show server drain",
        help: &[SHOW, SERVER, "What is drained or disabled, and what is left of it"],
        run: Run::Show(drain, |state, _| json!(state.orders)),
    },
    Entry {
        level: USER,
        syntax: "show server backup",
        help: &[SHOW, SERVER, "The pair: who owns, and whether the other box could"],
        run: Run::Show(backup, |state, _| json!(state.pair)),
    },
    Entry {
        level: USER,
        syntax: "show server sessions",
        help: &[SHOW, SERVER, "The table of connections: entries, and room"],
        run: Run::Show(sessions, |state, _| json!(state.table)),
    },
    Entry {
        level: USER,
        syntax: "show server traffic",
        help: &[SHOW, SERVER, "Packets, by what became of them"],
        run: Run::Show(traffic, |state, _| json!(state.packets)),
    },
    Entry {
        level: USER,
        syntax: "show interfaces",
        help: &[SHOW, "Ports of the data plane"],
        run: Run::Show(interfaces, |state, _| json!(state.interfaces)),
    },
];

fn or_none(lines: Vec<String>, none: &str) -> Vec<String> {
    if lines.is_empty() { vec![none.to_owned()] } else { lines }
}

/// Whether it is the one that was asked for, or all were.
fn is_named(args: &Args, name: &str) -> bool {
    args.value(0).is_none_or(|wanted| wanted == name)
}

/// Nothing is there; what was asked for by its name is missed.
fn none_of(what: &str, args: &Args) -> Shown {
    match args.value(0) {
        Some(name) => Err(Refusal(format!("there is no {what} {name}"))),
        None => Ok(vec![format!("There is no {what}")]),
    }
}

fn unix_time() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// `14:03:07 UTC Sat Nov 28 2026`, as IOS has it.
fn clock() -> String {
    let form = format_description!(
        "[hour]:[minute]:[second] UTC [weekday repr:short] [month repr:short] [day padding:none] [year]"
    );
    time::OffsetDateTime::now_utc().format(form).unwrap_or_default()
}

fn version(state: &State, _: &Args, _: usize) -> Shown {
    let data_plane = if state.adopted { "it found a data plane that was running" } else { "it loaded its data plane" };
    let mut lines = vec![
        format!("lbd {}, layer-4 load balancer", state.version),
        format!("{} uptime is {}; {data_plane}", state.hostname, age(Duration::from_secs(state.uptime_seconds))),
        format!("This box is {}", state.role.word()),
        format!("Configuration revision {}", state.config.revision),
    ];
    if !state.config.last_reload_ok {
        lines.push("The latest configuration was refused; the one before is in force".to_owned());
    }
    if !state.warnings.is_empty() {
        lines.push(format!("Warnings: {}; `show warnings` has them", state.warnings.len()));
    }
    Ok(lines)
}

/// As ServerIrons say it.
fn letters(member: &MemberState) -> &'static str {
    match (member.admin, member.state) {
        (AdminState::Disabled, _) => "DIS",
        (AdminState::Draining, _) => "GDN",
        (_, check::State::Down) => "FAL",
        (_, check::State::Unknown) if !member.scheduled => "TST",
        _ if member.scheduled => "ACT",
        _ => "ENB",
    }
}

const LEGEND: [&str; 2] = [
    "St: ACT gets connections, ENB healthy and gets none, FAL failed, TST under test,",
    "    DIS disabled, GDN drained",
];

/// Every part that a server plays in a service.
fn parts<'a>(state: &'a State, server: &'a str) -> impl Iterator<Item = (&'a ServiceState, &'a MemberState)> {
    let members = state.services.iter().flat_map(|service| service.members.iter().map(move |member| (service, member)));
    members.filter(move |(_, member)| member.server == server)
}

fn reals(state: &State, args: &Args) -> Vec<Value> {
    let of = |name: &str| {
        parts(state, name)
            .map(|(service, member)| {
                json!({"virtual_server": service.virtual_server, "service": service.service,
               "family": service.family.word(), "member": member})
            })
            .collect::<Vec<_>>()
    };
    let servers = state.servers.iter().filter(|server| is_named(args, &server.name));
    servers.map(|server| json!({"server": server, "services": of(&server.name)})).collect()
}

fn real(state: &State, args: &Args, width: usize) -> Shown {
    if let Some(name) = args.value(0) {
        return real_one(state, name, args, width);
    }
    let mut table = Table::new(&[
        ("Name", Left),
        ("St", Left),
        ("Up/All", Right),
        ("Conn", Right),
        ("Max", Right),
        ("Total", Right),
        ("Weight", Right),
        ("Address", Left),
    ]);
    for server in &state.servers {
        let all: Vec<_> = parts(state, &server.name).map(|(_, member)| member).collect();
        let up = all.iter().filter(|member| member.scheduled).count();
        let worst = all.iter().map(|member| letters(member)).max_by_key(|st| rank(st)).unwrap_or("-");
        let total = all.iter().map(|member| member.connections.total).sum();
        let max = if server.max_connections == 0 { "-".into() } else { count(server.max_connections.into()) };
        let addresses = server.address.map(|a| a.to_string()).into_iter().chain(server.address6.map(|a| a.to_string()));
        table.row([
            server.name.clone(),
            worst.to_owned(),
            format!("{up}/{}", all.len()),
            count(server.connections),
            max,
            count(total),
            server.weight.to_string(),
            addresses.collect::<Vec<_>>().join(", "),
        ]);
    }
    if table.is_empty() {
        return none_of("real server", args);
    }
    Ok(LEGEND.map(str::to_owned).into_iter().chain(table.lines(width)).collect())
}

/// What an operator should see of several, first.
fn rank(st: &str) -> u8 {
    match st {
        "FAL" => 5,
        "DIS" => 4,
        "GDN" => 3,
        "TST" => 2,
        "ENB" => 1,
        _ => 0,
    }
}

fn real_one(state: &State, name: &str, args: &Args, width: usize) -> Shown {
    let Some(server) = state.servers.iter().find(|server| server.name == name) else {
        return none_of("real server", args);
    };
    let shown = |address: Option<String>| address.unwrap_or_else(|| "-".into());
    let mut lines = vec![
        format!("Name: {}   Order: {}", server.name, server.admin),
        format!(
            "IP: {}   IPv6: {}",
            shown(server.address.map(|a| a.to_string())),
            shown(server.address6.map(|a| a.to_string()))
        ),
        format!("Weight: {}   MaxConn: {}   CurConn: {}", server.weight, server.max_connections, server.connections),
        String::new(),
    ];
    lines.extend(LEGEND.map(str::to_owned));
    let mut table = Table::new(&[
        ("Service", Left),
        ("St", Left),
        ("CurConn", Right),
        ("Pend", Right),
        ("TotConn", Right),
        ("Rx-pkts", Right),
        ("Tx-pkts", Right),
        ("Rx-bytes", Right),
        ("Tx-bytes", Right),
        ("Why", Left),
    ]);
    for (service, member) in parts(state, name) {
        table.row([
            format!("{}/{} {}", service.virtual_server, service.service, service.family.word()),
            letters(member).to_owned(),
            count(member.connections.active),
            count(member.connections.pending),
            count(member.connections.total),
            count(member.traffic.packets_in),
            count(member.traffic.packets_out),
            bytes(member.traffic.bytes_in),
            bytes(member.traffic.bytes_out),
            member.why.clone(),
        ]);
    }
    lines.extend(if table.is_empty() { vec!["It is in no service".into()] } else { table.lines(width) });
    Ok(lines)
}

fn services<'a>(state: &'a State, args: &Args) -> Vec<&'a ServiceState> {
    state.services.iter().filter(|service| is_named(args, &service.virtual_server)).collect()
}

fn virtuals(state: &State, args: &Args, width: usize) -> Shown {
    let mut table = Table::new(&[
        ("Service", Left),
        ("Mode", Left),
        ("Up/All", Right),
        ("CurConn", Right),
        ("Pend", Right),
        ("TotConn", Right),
        ("Pool", Left),
        ("Predictor", Left),
        ("Address", Left),
    ]);
    for service in services(state, args) {
        let up = service.members.iter().filter(|member| member.scheduled).count();
        let at = service.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        table.row([
            format!("{}/{}", service.virtual_server, service.service),
            service.mode.word().to_owned(),
            format!("{up}/{}", service.members.len()),
            count(service.connections.active),
            count(service.connections.pending),
            count(service.connections.total),
            service.pool.clone(),
            service.scheduler.word().to_owned(),
            format!("{at} {}/{}", service.protocol.word(), service.ports),
        ]);
    }
    if table.is_empty() { none_of("virtual server", args) } else { Ok(table.lines(width)) }
}

fn bind(state: &State, args: &Args, _: usize) -> Shown {
    let mut lines = Vec::new();
    for service in services(state, args) {
        let at = service.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        lines.push(format!("Virtual Server: {}   IP: {at}", service.virtual_server));
        for (number, member) in service.members.iter().enumerate() {
            let head = if number == 0 { format!("{} ------->", service.service) } else { String::new() };
            let address = member.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
            let port = member.port.map_or_else(|| service.ports.to_string(), |port| port.to_string());
            let backup = if member.backup { ", backup" } else { "" };
            lines.push(format!("  {head:>24} {}: {address}, {port} ({}{backup})", member.server, letters(member)));
        }
    }
    if lines.is_empty() { none_of("virtual server", args) } else { Ok(lines) }
}

fn pool(state: &State, args: &Args, width: usize) -> Shown {
    let mut table = Table::new(&[
        ("Name", Left),
        ("Predictor", Left),
        ("Slow-start", Right),
        ("Members", Left),
        ("Services", Left),
        ("Check", Left),
    ]);
    for pool in state.pools.iter().filter(|pool| is_named(args, &pool.name)) {
        table.row([
            pool.name.clone(),
            pool.scheduler.word().to_owned(),
            format!("{}s", pool.slow_start_seconds),
            pool.members.join(","),
            pool.services.join(","),
            pool.check.clone(),
        ]);
    }
    if table.is_empty() { none_of("pool", args) } else { Ok(table.lines(width)) }
}

/// Each check once, though it may stand for several members.
fn checks<'a>(state: &'a State, args: &Args) -> Vec<(&'a str, &'a CheckState)> {
    let members = state.services.iter().flat_map(|service| &service.members);
    let mut found: Vec<(&str, &CheckState)> = members
        .filter(|member| is_named(args, &member.server))
        .flat_map(|member| member.checks.iter().map(|check| (member.server.as_str(), check)))
        .collect();
    found.sort_by(|one, other| (one.0, &one.1.question).cmp(&(other.0, &other.1.question)));
    found.dedup_by(|one, other| one.0 == other.0 && one.1.question == other.1.question);
    found
}

fn keepalive(state: &State, args: &Args, width: usize) -> Shown {
    let mut table = Table::new(&[
        ("Server", Left),
        ("Check", Left),
        ("State", Left),
        ("Since", Right),
        ("Next", Right),
        ("Good", Right),
        ("p50", Right),
        ("p99", Right),
        ("Last result", Left),
    ]);
    for (server, check) in checks(state, args) {
        let latency = |of: fn(&crate::core::control::state::Latency) -> f64| {
            check.latency.as_ref().map_or_else(|| "-".to_owned(), |latency| span(of(latency)))
        };
        let held = check.held_seconds.map(|held| format!(" (flaps: held down for {held}s more)")).unwrap_or_default();
        table.row([
            server.to_owned(),
            check.question.clone(),
            check.state.word().to_owned(),
            age(Duration::from_secs(check.since_seconds)),
            format!("{:.1}s", check.next_seconds),
            check.success_ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0}%", ratio * 100.0)),
            latency(|latency| latency.p50_seconds),
            latency(|latency| latency.p99_seconds),
            format!("{}{held}", check.last.clone().unwrap_or_else(|| "none yet".to_owned())),
        ]);
    }
    if table.is_empty() { none_of("check of a real server", args) } else { Ok(table.lines(width)) }
}

fn drain(state: &State, _: &Args, width: usize) -> Shown {
    let now = unix_time();
    let left =
        |at: Option<u64>| at.map_or_else(|| "-".to_owned(), |at| age(Duration::from_secs(at.saturating_sub(now))));
    let mut table = Table::new(&[
        ("Server", Left),
        ("Pool", Left),
        ("Order", Left),
        ("Since", Right),
        ("Left", Right),
        ("Of", Right),
        ("Ends in", Right),
        ("Deadline", Right),
    ]);
    for order in &state.orders {
        table.row([
            order.server.clone(),
            order.pool.clone().unwrap_or_else(|| "all".into()),
            order.admin.to_string(),
            age(Duration::from_secs(now.saturating_sub(order.since))),
            count(order.connections),
            count(order.connections_at_begin),
            if order.finished { "done".into() } else { left(order.end_likely_at) },
            left(order.deadline_at),
        ]);
    }
    Ok(if table.is_empty() { vec!["Nothing is drained or disabled".to_owned()] } else { table.lines(width) })
}

fn backup(state: &State, _: &Args, width: usize) -> Shown {
    let Some(pair) = &state.pair else {
        return Ok(vec!["This box is alone: no pair is configured".to_owned()]);
    };
    let mut lines = pair_lines(pair, &state.version);
    let mut table = Table::new(&[
        ("Path", Left),
        ("Alive", Left),
        ("Sent", Right),
        ("Received", Right),
        ("Lost", Right),
        ("Refused", Right),
        ("Delay", Right),
        ("Trouble", Left),
    ]);
    for path in &pair.paths {
        table.row([
            path.name.clone(),
            if path.alive { "yes" } else { "NO" }.to_owned(),
            count(path.sent),
            count(path.received),
            count(path.lost),
            count(path.refused),
            path.delay_seconds.map_or_else(|| "-".to_owned(), span),
            path.trouble.clone().unwrap_or_default(),
        ]);
    }
    lines.push(String::new());
    lines.extend(table.lines(width));
    Ok(lines)
}

fn pair_lines(pair: &PairState, own: &str) -> Vec<String> {
    let ready = |ready: bool| if ready { "ready" } else { "NOT READY" };
    let mut lines = vec![format!(
        "This box: {} for {}, {}, {}{}",
        pair.state,
        age(Duration::from_secs_f64(pair.since_seconds.max(0.0))),
        if pair.owns { "owns the virtual addresses" } else { "does not own" },
        ready(pair.ready),
        pair.unready.as_ref().map(|why| format!(": {why}")).unwrap_or_default(),
    )];
    lines.push(match &pair.peer {
        None => "Peer: never heard".to_owned(),
        Some(peer) => format!(
            "Peer: {}, {}, {}, heard {} ago; configuration {}",
            peer.state,
            if peer.owns { "owns" } else { "does not own" },
            ready(peer.ready),
            span(peer.heard_seconds),
            if peer.same_config { "the same" } else { "DIFFERS" },
        ),
    });
    let sync = &pair.sync;
    lines.push(if sync.tells {
        format!("Sync: tells, {} changes behind", count(sync.behind_records))
    } else {
        match (sync.complete, sync.progress) {
            (true, _) => format!("Sync: complete, {} changes taken", count(sync.records)),
            (false, Some([told, of])) => format!("Sync: NOT COMPLETE, {} of {}", count(told), count(of)),
            (false, None) => "Sync: NOT COMPLETE".to_owned(),
        }
    });
    lines.extend(pair.peer_release.as_deref().map(|other| match other == own {
        true => format!("Release: {own} on both boxes"),
        false => format!("Release: {own} here, {other} on the other box: finish the upgrade"),
    }));
    lines.push(format!("Uplink: {}", if pair.uplink_open { "open" } else { "blocks (that of the other box is open)" }));
    lines
}

fn sessions(state: &State, _: &Args, _: usize) -> Shown {
    let table = &state.table;
    let part = |entries: u64, capacity: u64| entries.saturating_mul(100).checked_div(capacity).unwrap_or(0);
    Ok(vec![
        format!(
            "Established: {} of {} ({} %)",
            count(table.entries),
            count(table.capacity),
            part(table.entries, table.capacity)
        ),
        format!(
            "In a handshake: {} of {} ({} %)",
            count(table.embryonic),
            count(table.embryonic_capacity),
            part(table.embryonic, table.embryonic_capacity)
        ),
        format!(
            "Sweeps: {}, {} connections removed{}",
            count(table.sweep.completed),
            count(table.sweep.removed),
            table
                .sweep
                .last_duration_seconds
                .map(|last| format!(", the latest took {}", span(last)))
                .unwrap_or_default()
        ),
    ])
}

fn traffic(state: &State, _: &Args, width: usize) -> Shown {
    let mut table = Table::new(&[("Packets", Right), ("Fate", Left), ("Reason", Left), ("Meaning", Left)]);
    for packets in state.packets.iter().filter(|packets| packets.count > 0) {
        table.row([
            count(packets.count),
            packets.verdict.to_owned(),
            packets.reason.to_owned(),
            packets.meaning.to_owned(),
        ]);
    }
    Ok(if table.is_empty() { vec!["No packet came yet".to_owned()] } else { table.lines(width) })
}

fn interfaces(state: &State, _: &Args, width: usize) -> Shown {
    let mut table =
        Table::new(&[("Name", Left), ("XDP", Left), ("Forwards", Left), ("Lost after redirect", Right), ("MAC", Left)]);
    for port in &state.interfaces {
        table.row([
            port.name.clone(),
            port.xdp.word().to_owned(),
            if port.forwarding { "yes" } else { "NO" }.to_owned(),
            count(port.lost_after_redirect),
            port.mac.to_string(),
        ]);
    }
    Ok(if table.is_empty() { vec!["There is no port".to_owned()] } else { table.lines(width) })
}
