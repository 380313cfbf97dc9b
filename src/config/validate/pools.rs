//! Rules of pools, and of their checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Findings, pool, probe, time};
use crate::config::diagnostic::{Complaint, Finding, KeyPath};
use crate::config::limits;
use crate::config::model::{BelowMin, Check, CheckKind, Config, Migrate, Name, Pool};

pub(super) fn check_all(config: &Config, findings: &mut Findings) {
    let used = used(config);
    for (name, entry) in &config.pools {
        let at = pool(name);
        if !used.contains(name) {
            let complaint = Complaint::new(format!("nothing uses pool `{name}`"))
                .help("name it as the `pool` of a service, or remove it");
            findings.warning(at.clone(), complaint);
        }
        port(entry.port, at.key("port"), findings);
        findings.time(at.key("slow-start"), entry.slow_start, limits::SLOW_START);
        check(&entry.check, &at.key("check"), findings);
        members(config, name, entry, &at.key("members"), findings);
        minimum(entry, &at, findings);
        other_pool(config, name, entry.backup_pool.as_ref(), &at.key("backup-pool"), findings);
        if let Some(migrate) = &entry.migrate {
            other_pool(config, name, Some(&migrate.to), &at.key("migrate").key("to"), findings);
            migration(migrate, &at.key("migrate"), findings);
        }
    }
}

/// The pools of services, and those that stand behind them.
fn used(config: &Config) -> BTreeSet<&Name> {
    let services = config.virtual_servers.values().flat_map(|entry| entry.services.values());
    let named = |name: &&Name| config.pools.get(*name);
    let mut used: BTreeSet<&Name> = services.map(|service| &service.pool).collect();
    let migrated: Vec<_> = used.iter().filter_map(named).filter_map(|pool| Some(&pool.migrate.as_ref()?.to)).collect();
    used.extend(migrated);
    let backups: Vec<_> = used.iter().filter_map(named).filter_map(|pool| pool.backup_pool.as_ref()).collect();
    used.extend(backups);
    used
}

fn minimum(entry: &Pool, at: &KeyPath, findings: &mut Findings) {
    findings.number(at.key("min-up"), entry.min_up.into(), limits::MIN_UP);
    let primaries = entry.members.iter().filter(|member| !member.backup).count();
    if entry.min_up == 0 && entry.below_min != BelowMin::Backup {
        let complaint = Complaint::lack("`below-min` means nothing without `min-up`")
            .help("say how many members must be up: min-up: 2");
        findings.error(at.key("below-min"), complaint);
    } else if primaries > 0 && usize::from(entry.min_up) > primaries {
        let complaint = Complaint::new(format!("{} members must be up, and there are {primaries}", entry.min_up))
            .help("backups are not counted; lower `min-up`, or add members");
        findings.warning(at.key("min-up"), complaint);
    }
}

/// A pool that this one names.
fn other_pool(config: &Config, name: &Name, other: Option<&Name>, at: &KeyPath, findings: &mut Findings) {
    let Some(other) = other else { return };
    if other == name {
        let complaint = Complaint::new(format!("pool `{name}` names itself")).help("name another pool");
        findings.error(at.clone(), complaint);
    } else if !config.pools.contains_key(other) {
        let mut complaint = Complaint::new(format!("there is no pool `{other}`"));
        complaint.help = findings.did_you_mean(other.as_str(), config.pools.keys().map(Name::as_str));
        findings.error(at.clone(), complaint);
    }
}

fn migration(migrate: &Migrate, at: &KeyPath, findings: &mut Findings) {
    if migrate.share > Migrate::SHARE_MAX {
        findings.error(at.key("share"), Complaint::new("more than all cannot be moved").help("100% is the most"));
    }
    if migrate.clients.len() > limits::MIGRATE_CLIENTS_MAX {
        let complaint = Complaint::new(format!("{} networks are too many", migrate.clients.len()))
            .help(format!("at most {} can stand here", limits::MIGRATE_CLIENTS_MAX));
        findings.error(at.key("clients"), complaint);
    }
    if migrate.share == 0 && migrate.clients.is_empty() {
        let complaint = Complaint::new("nobody is migrated").help("give a `share` of the clients, or `clients`");
        findings.warning(at.clone(), complaint);
    }
}

fn port(port: Option<u16>, at: KeyPath, findings: &mut Findings) {
    if port == Some(0) {
        findings.error(at, Complaint::new("0 is no port").help("ports go from 1 to 65535"));
    }
}

fn check(check: &Check, at: &KeyPath, findings: &mut Findings) {
    port(check.port, at.key("port"), findings);
    findings.time(at.key("interval"), check.interval, limits::CHECK_INTERVAL);
    findings.time(at.key("timeout"), check.timeout, limits::CHECK_TIMEOUT);
    no_longer(
        ("timeout", check.timeout),
        ("interval", check.interval),
        "a probe must have ended before the next one begins",
        at,
        findings,
    );
    findings.time(at.key("fast-interval"), check.fast_interval, limits::CHECK_FAST_INTERVAL);
    let why = "in doubt a server is asked sooner";
    no_longer(("fast-interval", check.fast_interval), ("interval", check.interval), why, at, findings);
    if let Some(slow) = check.slow {
        findings.time(at.key("slow"), slow, limits::CHECK_SLOW);
        no_longer(("slow", slow), ("timeout", check.timeout), "no answer is waited for any longer", at, findings);
    }
    findings.number(at.key("rise"), check.rise.into(), limits::CHECK_COUNT);
    findings.number(at.key("fall"), check.fall.into(), limits::CHECK_COUNT);
    findings.time(at.key("flap-hold"), check.flap_hold, limits::FLAP_HOLD);
    if let CheckKind::Probe(asked) = &check.kind {
        probe::check(asked, at, findings);
    }
}

fn no_longer(
    (key, this): (&str, Duration),
    (other, limit): (&str, Duration),
    why: &str,
    at: &KeyPath,
    findings: &mut Findings,
) {
    if this > limit {
        let message = format!("the {key} of {} is longer than the {other} of {}", time(this), time(limit));
        findings.error(at.key(key), Complaint::new(message).help(why));
    }
}

fn members(config: &Config, name: &Name, entry: &Pool, at: &KeyPath, findings: &mut Findings) {
    if entry.members.is_empty() {
        let complaint = Complaint::new(format!("pool `{name}` has no members"))
            .help("connections to its services are refused until it has");
        findings.warning(at.clone(), complaint);
    } else if entry.members.iter().all(|member| member.backup) {
        let complaint = Complaint::new(format!("all members of pool `{name}` are backups"))
            .help("a backup stands in for members that are not; take `backup` from those");
        findings.warning(at.clone(), complaint);
    }
    let mut seen: BTreeMap<&Name, KeyPath> = BTreeMap::new();
    for (index, member) in entry.members.iter().enumerate() {
        let at = at.key(index);
        if !config.servers.contains_key(&member.server) {
            let mut complaint = Complaint::new(format!("there is no server `{}`", member.server));
            complaint.help = findings.did_you_mean(member.server.as_str(), config.servers.keys().map(Name::as_str));
            findings.error(at.key("server"), complaint);
        }
        if let Some(first) = seen.insert(&member.server, at.clone()) {
            let complaint = Complaint::new(format!("server `{}` is in pool `{name}` twice", member.server))
                .help("a pool has a server once; for a larger share give it more `weight`");
            findings.list.push(Finding::error(at.clone(), complaint).related(first, "here first"));
        }
        port(member.port, at.key("port"), findings);
        if let Some(weight) = member.weight {
            findings.number(at.key("weight"), weight.into(), limits::WEIGHT);
        }
    }
}
