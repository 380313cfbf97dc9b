//! What a state means. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Range;
use super::line::{Datum, Status, Verdict};
use crate::config::suggest::did_you_mean;

/// Those of the command line; where one is absent the subject's own default counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thresholds {
    pub warning: Option<Range>,
    pub critical: Option<Range>,
}

impl Thresholds {
    fn or(self, warning: Range, critical: Range) -> (Range, Range) {
        (self.warning.unwrap_or(warning), self.critical.unwrap_or(critical))
    }
}

fn status(value: f64, (warning, critical): (Range, Range)) -> Status {
    match (critical.is_bad(value), warning.is_bad(value)) {
        (true, _) => Status::Critical,
        (_, true) => Status::Warning,
        _ => Status::Ok,
    }
}

fn measured(label: &str, value: usize, (warning, critical): (Range, Range), max: usize) -> Datum {
    Datum { warning: Some(warning), critical: Some(critical), max: Some(max as f64), ..Datum::new(label, value as f64) }
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn none(what: &str, name: &str, known: Vec<&str>) -> Verdict {
    let guess = did_you_mean(name, known).map_or(String::new(), |guess| format!("; {guess}"));
    Verdict::unknown(&format!("there is no {what} {name}{guess}"))
}

/// Of the servers of a pool those that are up in all that the pool serves.
pub fn pool(state: &Value, name: &str, thresholds: Thresholds) -> Verdict {
    let pools = list(state, "pools");
    let Some(pool) = pools.iter().find(|pool| text(pool, "name") == name) else {
        return none("pool", name, pools.iter().map(|pool| text(pool, "name")).collect());
    };
    let members = list(state, "services").iter().flat_map(|service| list(service, "members"));
    // Of each server whether it is up everywhere, and else why not.
    let mut servers: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let mut connections = 0;
    for member in members.filter(|member| text(member, "pool") == name) {
        connections += member["connections"]["active"].as_u64().unwrap_or_default();
        let entry = servers.entry(text(member, "server")).or_default();
        if text(member, "state") != "up" {
            *entry = Some(text(member, "why"));
        }
    }
    if servers.is_empty() {
        let has_members = pool["members"].as_array().is_some_and(|members| !members.is_empty());
        let why = if has_members { "is used by no service, so that nobody probes it" } else { "has no members" };
        return Verdict::unknown(&format!("pool {name} {why}"));
    }
    let total = servers.len();
    let up = servers.values().filter(|down| down.is_none()).count();
    let ranges = thresholds.or(Range::at_least(total), Range::at_least(1));
    let down = servers.iter().filter_map(|(server, why)| Some(format!("; {server}: {}", (*why)?)));
    let said = format!("{name}: {up} of {total} servers up{}", down.collect::<String>());
    let data = vec![measured("up", up, ranges, total), Datum::new("connections", connections as f64)];
    Verdict::new(status(up as f64, ranges), said, data)
}

/// Of a virtual server the service that has the fewest members.
pub fn virtual_server(state: &Value, name: &str, thresholds: Thresholds) -> Verdict {
    let all = list(state, "services");
    let services: Vec<&Value> = all.iter().filter(|service| text(service, "virtual_server") == name).collect();
    if services.is_empty() {
        let mut known: Vec<&str> = all.iter().map(|service| text(service, "virtual_server")).collect();
        known.dedup();
        return none("virtual server with a service", name, known);
    }
    let mut worst = Status::Ok;
    let mut said = Vec::new();
    let mut data = Vec::new();
    for service in services {
        let members = list(service, "members");
        let scheduled = members.iter().filter(|member| member["scheduled"] == true).count();
        // One that has a single member cannot lose its redundancy.
        let ranges = thresholds.or(Range::at_least(members.len().min(2)), Range::at_least(1));
        let label = format!("{} {}", text(service, "service"), text(service, "family"));
        let own = status(scheduled as f64, ranges);
        if own != Status::Ok {
            said.push(format!("{label}: {scheduled} of {} members take connections", members.len()));
        }
        worst = worst.max(own);
        data.push(measured(&label, scheduled, ranges, members.len()));
    }
    let said = if said.is_empty() { format!("all {} services are served", data.len()) } else { said.join("; ") };
    Verdict::new(worst, format!("{name}: {said}"), data)
}

/// Both boxes, as this one sees them.
pub fn pair(state: &Value, thresholds: Thresholds) -> Verdict {
    let pair = &state["pair"];
    if !pair.is_object() {
        return Verdict::unknown("this box has no pair");
    }
    let (own, peer) = (pair["owns"] == true, &pair["peer"]);
    let peer_owns = peer["owns"] == true;
    let paths = list(pair, "paths");
    let alive = paths.iter().filter(|path| path["alive"] == true).count();
    let ranges = thresholds.or(Range::at_least(paths.len()), Range::at_least(1));
    let mut worst = status(alive as f64, ranges);
    let mut said = Vec::new();
    let mut add = |status: Status, words: String| {
        worst = worst.max(status);
        said.push(words);
    };
    // What a box said last counts while it is heard: an owner that is alone has nobody beside it.
    match (own, peer_owns && alive > 0) {
        (true, true) => add(Status::Critical, "both boxes own".into()),
        (false, false) => add(Status::Critical, "nobody owns".into()),
        (true, false) => add(Status::Ok, "this box owns".into()),
        (false, true) => add(Status::Ok, "the other box owns".into()),
    }
    let other_ready = alive > 0 && peer["ready"] == true;
    if alive == 0 {
        add(Status::Warning, "the other box is not heard".into());
    } else if own && !other_ready {
        add(Status::Warning, "the other box could not take over".into());
    }
    if !own && pair["ready"] != true {
        add(Status::Warning, format!("this box could not take over: {}", text(pair, "unready")));
    }
    let down = paths.iter().filter(|path| path["alive"] != true).map(|path| text(path, "name"));
    let down: Vec<&str> = down.collect();
    if !down.is_empty() {
        said.push(format!("paths down: {}", down.join(", ")));
    }
    if let Some(trouble) = pair["config"]["trouble"].as_str() {
        worst = worst.max(Status::Warning);
        said.push(trouble.to_owned());
    }
    let mut data = vec![measured("paths", alive, ranges, paths.len())];
    if let Some(heard) = peer["heard_seconds"].as_f64() {
        data.push(Datum { unit: "s", ..Datum::new("heard", heard) });
    }
    Verdict::new(worst, said.join("; "), data)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn member(server: &str, pool: &str, state: &str, scheduled: bool) -> Value {
        let connections = json!({"active": 2});
        json!({"server": server, "pool": pool, "state": state, "scheduled": scheduled, "why": "is down: no answer",
               "connections": connections})
    }

    fn state(members: Vec<Value>) -> Value {
        json!({
            "pools": [{"name": "mx", "members": ["a", "b"]}, {"name": "idle", "members": ["a"]}, {"name": "none", "members": []}],
            "services": [{"virtual_server": "mail", "service": "smtp", "family": "ipv4", "members": members}],
            "pair": null,
        })
    }

    fn range(text: &str) -> Option<Range> {
        Some(Range::new(text).unwrap())
    }

    #[test]
    fn a_pool_is_judged_by_its_servers_that_are_up() {
        let told = |members, thresholds| pool(&state(members), "mx", thresholds).to_string();
        let up = || vec![member("a", "mx", "up", true), member("b", "mx", "up", true)];
        let half = || vec![member("a", "mx", "up", true), member("b", "mx", "down", false)];
        let dead = || vec![member("a", "mx", "unknown", false), member("b", "mx", "down", false)];
        let usual = Thresholds::default();
        assert_eq!(told(up(), usual), "LBD OK - mx: 2 of 2 servers up | up=2;2:;1:;0;2 connections=4;;;0");
        assert_eq!(
            told(half(), usual),
            "LBD WARNING - mx: 1 of 2 servers up; b: is down: no answer | up=1;2:;1:;0;2 connections=4;;;0"
        );
        assert!(told(dead(), usual).starts_with("LBD CRITICAL - mx: 0 of 2"));
        let asked = Thresholds { warning: range("@1"), critical: range("2:") };
        assert!(told(half(), asked).starts_with("LBD CRITICAL"));
        assert!(told(up(), asked).starts_with("LBD OK"));
    }

    #[test]
    fn what_there_is_not_is_unknown() {
        let state = state(vec![member("a", "mx", "up", true)]);
        let usual = Thresholds::default();
        for (verdict, word) in [
            (pool(&state, "mxx", usual), "did you mean"),
            (pool(&state, "idle", usual), "no service"),
            (pool(&state, "none", usual), "no members"),
            (virtual_server(&state, "web", usual), "no virtual server"),
            (pair(&state, usual), "no pair"),
            (pool(&json!("nonsense"), "mx", usual), "no pool"),
            (pair(&json!([]), usual), "no pair"),
        ] {
            assert!(verdict.exit_status() == 3 && verdict.to_string().contains(word), "{verdict}");
        }
    }

    #[test]
    fn a_virtual_server_is_as_well_as_its_worst_service() {
        let told = |members| virtual_server(&state(members), "mail", Thresholds::default()).to_string();
        let one = |scheduled| member("a", "mx", "up", scheduled);
        assert_eq!(
            told(vec![one(true), one(true)]),
            "LBD OK - mail: all 1 services are served | 'smtp ipv4'=2;2:;1:;0;2"
        );
        assert_eq!(
            told(vec![one(true), one(false)]),
            "LBD WARNING - mail: smtp ipv4: 1 of 2 members take connections | 'smtp ipv4'=1;2:;1:;0;2"
        );
        assert!(told(vec![one(false)]).starts_with("LBD CRITICAL"));
        assert!(told(vec![one(true)]).starts_with("LBD OK"), "it never had two");
    }

    #[test]
    fn a_pair_without_an_owner_is_critical_and_one_without_a_second_box_is_a_warning() {
        let told = |owns: bool, ready: bool, peer: Value, alive: [bool; 2]| {
            let path = |alive| json!({"name": "x", "alive": alive});
            let pair = json!({"owns": owns, "ready": ready, "unready": "a port is down", "peer": peer,
                              "paths": alive.map(path), "config": {"trouble": null}});
            self::pair(&json!({"pair": pair}), Thresholds::default())
        };
        let peer = |owns: bool, ready: bool| json!({"owns": owns, "ready": ready, "heard_seconds": 0.05});
        let good = told(true, true, peer(false, true), [true, true]);
        assert_eq!(good.to_string(), "LBD OK - this box owns | paths=2;2:;1:;0;2 heard=0.05s;;;0");
        assert_eq!(told(false, true, peer(true, true), [true, true]).exit_status(), 0);
        assert_eq!(told(true, true, peer(false, false), [true, true]).exit_status(), 1);
        assert_eq!(told(false, false, peer(true, true), [true, true]).exit_status(), 1);
        assert_eq!(told(true, true, peer(false, true), [true, false]).exit_status(), 1);
        assert_eq!(told(true, true, peer(true, true), [true, true]).exit_status(), 2);
        assert_eq!(told(false, true, peer(false, true), [true, true]).exit_status(), 2);
        assert_eq!(told(true, true, Value::Null, [false, false]).exit_status(), 2, "no path is left");
        // What the dead box said last is not counted.
        assert!(told(true, true, peer(true, true), [false, false]).to_string().contains("this box owns"));
    }
}
