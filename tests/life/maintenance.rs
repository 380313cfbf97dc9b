//! Maintenance with an end: deadlines, removal from the configuration, drains of single members.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::api::{Reply, State};
use super::conf::Conf;
use super::stage::{Stage, until};
use super::talk::Talkers;

/// Pool `one`, and pool `two` at the same servers.
const ONE: &str = "192.0.2.25:7";
const TWO: &str = "192.0.2.25:110";

fn two_pools(pcs: u8, mode: &str) -> Conf {
    let members: Vec<String> = (1..=pcs).map(|n| format!("pc{n}")).collect();
    let pool = format!("members: [{}], scheduler: round-robin", members.join(", "));
    Conf::new(pcs)
        .pool("one", &pool)
        .pool("two", &pool)
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "one", &format!("port: 7, pool: one, mode: {mode}, timeouts: {{closing: 1s, closed: 1s}}"))
        .service("v", "two", &format!("port: 110, pool: two, mode: {mode}, timeouts: {{closing: 1s, closed: 1s}}"))
}

/// A site whose file has comments.
fn stage(pcs: u8, mode: &str) -> Stage {
    let text = two_pools(pcs, mode).text();
    let commented = text
        .replace("servers:\n", "servers:\n  # The machines, by age.\n")
        .replace("  pc1: {", "  # pc1 is the oldest.\n  pc1: {");
    assert_ne!(text, commented);
    let mut stage = Stage::without_balancer(pcs);
    stage.configure_text(&commented);
    stage.start();
    stage.wait("every member is scheduled", State::all_scheduled);
    stage
}

fn file(stage: &Stage) -> String {
    std::fs::read_to_string(stage.config_file()).unwrap()
}

const PC1: &str = "/api/v1/servers/pc1";
const MEMBER: &str = "/api/v1/pools/one/members/pc1";

fn ask(stage: &Stage, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    stage.api().request(method, path, &body).unwrap()
}

/// An order that must be carried out.
fn order(stage: &Stage, method: &str, path: &str, body: Value) -> Value {
    let reply = ask(stage, method, path, &body);
    assert_eq!(reply.status, 200, "{method} {path} {body}: {reply:?}");
    reply.json()
}

/// The order in force about a server, in a pool or in all.
fn in_force<'a>(state: &'a State, pool: Option<&str>) -> Option<&'a Value> {
    state.0["orders"].as_array().unwrap().iter().find(|order| order["pool"] == json!(pool))
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn is_gone(state: &State) -> bool {
    state.0["servers"].as_array().unwrap().iter().all(|server| server["name"] != "pc1")
}

#[test]
fn a_drain_of_a_member_leaves_the_other_pools_of_its_server_alone() {
    let stage = stage(2, "nat");
    let [one, two] = [ONE, TWO].map(|target| Talkers::open(stage.client(), target, 20, &[]));
    let report = order(&stage, "POST", &format!("{MEMBER}/drain"), json!({}));
    assert_eq!((&report["pool"], &report["state"]), (&json!("one"), &json!("draining")));
    assert_eq!(report["connections"], json!(one.on("pc1")), "only those of the pool count as left");
    let tally = stage.ask(ONE, 20);
    assert_eq!((tally.of("pc2"), tally.failed_count()), (20, 0), "{tally:?}");
    assert_eq!(stage.ask(TWO, 20).of("pc1"), 10);
    let state = stage.state();
    assert_eq!(
        (&state.member("v/one", "pc1")["admin"], &state.member("v/two", "pc1")["admin"]),
        (&json!("draining"), &json!("enabled"))
    );

    // The last member of its pool, though its server has others.
    let refused = ask(&stage, "POST", "/api/v1/pools/one/members/pc2/drain", &Value::Null);
    assert_eq!((refused.status, &refused.json()["services"]), (409, &json!(["v/one"])), "{refused:?}");
    let refused = ask(&stage, "POST", "/api/v1/servers/pc2/drain", &Value::Null);
    assert_eq!((refused.status, &refused.json()["services"]), (409, &json!(["v/one"])), "{refused:?}");
    let wrong = ask(&stage, "POST", "/api/v1/pools/ones/members/pc1/drain", &Value::Null);
    assert_eq!((wrong.status, &wrong.json()["suggestion"]), (404, &json!("one")), "{wrong:?}");

    for talkers in [&one, &two] {
        talkers.all_talk();
        talkers.none_is_lost();
    }
    one.end();
    stage.wait("the drain is finished", |s| in_force(s, Some("one")).is_some_and(|order| order["finished"] == true));
    order(&stage, "POST", &format!("{MEMBER}/enable"), Value::Null);
    assert_eq!(stage.ask(ONE, 20).of("pc1"), 10);
    two.end();
}

#[test]
fn at_the_deadline_the_clients_that_are_left_are_reset_and_nobody_else() {
    for mode in ["nat", "dsr"] {
        let stage = stage(2, mode);
        let talkers = Talkers::open(stage.client(), ONE, 20, &[]);
        let report = order(&stage, "POST", &format!("{PC1}/drain"), json!({"deadline": "4s"}));
        let deadline = report["deadline_at"].as_u64().unwrap();
        talkers.all_talk();
        let lost = talkers.lost();
        assert!(lost.is_empty() || unix_now() >= deadline, "{mode}: lost before the deadline: {lost:?}");
        until("everyone on pc1 is reset", || talkers.lost().len() == talkers.on("pc1"));
        assert!(unix_now() >= deadline);
        let lost = talkers.lost();
        assert!(lost.iter().all(|(n, why)| talkers.servers[*n] == "pc1" && why == "reset"), "{mode}: {lost:?}");
        stage.wait("nothing is left", |s| in_force(s, None).is_some_and(|order| order["finished"] == true));
        assert_eq!(talkers.finish().len(), 10, "{mode}");
    }
}

#[test]
fn a_drain_can_be_cancelled_until_its_end() {
    let stage = stage(2, "nat");
    let talkers = Talkers::open(stage.client(), ONE, 20, &[]);
    order(&stage, "POST", &format!("{PC1}/drain"), json!({"deadline": "3s", "then": "remove"}));
    stage.wait("it is looked at", |s| in_force(s, None).is_some_and(|order| order["connections"] == 10));
    order(&stage, "POST", &format!("{PC1}/enable"), Value::Null);
    std::thread::sleep(Duration::from_secs(5));
    talkers.end();
    assert_eq!(stage.ask(ONE, 20).of("pc1"), 10);
    assert!(!is_gone(&stage.state()) && file(&stage).contains("pc1: {"));
}

#[test]
fn at_the_end_it_is_taken_out_of_the_file_and_every_comment_stays() {
    let stage = stage(2, "nat");
    let before = file(&stage);
    let talkers = Talkers::open(stage.client(), ONE, 20, &[]);
    order(&stage, "POST", &format!("{MEMBER}/drain"), json!({"then": "remove"}));
    stage.wait("it is looked at", |s| in_force(s, Some("one")).is_some_and(|order| order["connections"] == 10));
    assert_eq!(file(&stage), before, "not while somebody is left");
    talkers.end();
    stage.wait("the member is out", |s| s.service("v/one")["members"].as_array().unwrap().len() == 1);
    let without_member = before.replacen("members: [pc1, pc2]", "members: [pc2]", 1);
    assert_eq!(file(&stage), without_member);
    assert_eq!(std::fs::read_to_string(stage.config_file().with_extension("yaml.bak")).unwrap(), before);
    assert_eq!(stage.ask(TWO, 20).of("pc1"), 10, "in the other pool it serves");

    order(&stage, "POST", &format!("{PC1}/drain"), json!({"then": "remove"}));
    stage.wait("the server is out", is_gone);
    let after = file(&stage);
    assert!(!after.contains("pc1: {") && !after.contains("members: [pc1"), "{after}");
    assert!(after.contains("# The machines, by age."), "{after}");
    assert_eq!(stage.state().0["orders"], json!([]), "the order has gone with it");
    assert_eq!(stage.ask(TWO, 20).of("pc2"), 20);
}

#[test]
fn a_drain_goes_on_where_it_was_when_the_daemon_is_killed_at_any_stage() {
    let mut stage = stage(2, "nat");
    let talkers = Talkers::open(stage.client(), ONE, 20, &[]);
    order(&stage, "POST", &format!("{PC1}/drain"), json!({"deadline": "8s", "then": "remove"}));
    // Just ordered; and again while it goes on.
    stage.kill_balancer();
    stage.start();
    stage.wait("it drains", |s| in_force(s, None).is_some_and(|order| order["connections_at_begin"] == 10));
    assert_eq!(stage.ask(ONE, 20).of("pc2"), 20);
    talkers.none_is_lost();
    // The deadline passes while nobody is there.
    stage.kill_balancer();
    std::thread::sleep(Duration::from_secs(8));
    talkers.none_is_lost();
    stage.start();
    until("what was left is reset", || talkers.lost().len() == 10);
    // Between the reset and the removal.
    stage.kill_balancer();
    stage.start();
    stage.wait("it is out of the configuration", is_gone);
    assert!(!file(&stage).contains("pc1: {"));
    stage.kill_balancer();
    stage.start();
    stage.wait("it stays out", |s| is_gone(s) && s.0["orders"] == json!([]));
    assert_eq!(talkers.finish().len(), 10);
}

#[test]
fn what_is_not_drained_is_removed_only_by_force_which_says_how_many_it_cut() {
    let stage = stage(2, "nat");
    let talkers = Talkers::open(stage.client(), ONE, 20, &[]);
    let refused = ask(&stage, "DELETE", PC1, &Value::Null);
    let problem = refused.json();
    assert_eq!((refused.status, &problem["connections"], &problem["state"]), (409, &json!(10), &json!("enabled")));
    order(&stage, "POST", &format!("{PC1}/drain"), Value::Null);
    let refused = ask(&stage, "DELETE", PC1, &Value::Null);
    assert_eq!((refused.status, &refused.json()["state"]), (409, &json!("draining")), "{refused:?}");
    talkers.none_is_lost();
    let report = order(&stage, "DELETE", &format!("{PC1}?force=true"), Value::Null);
    assert_eq!((&report["cut"], &report["removed"]), (&json!(10), &json!(true)), "{report}");
    assert!(is_gone(&stage.state()) && !file(&stage).contains("pc1: {"));
    until("those on pc1 are reset", || talkers.lost().len() == 10);
    assert!(talkers.lost().keys().all(|n| talkers.servers[*n] == "pc1"));
    assert_eq!(talkers.finish().len(), 10);
    assert_eq!(stage.ask(ONE, 20).of("pc2"), 20);
    // The last one, with nobody left on it: both reasons to refuse, one word against both.
    assert_eq!(ask(&stage, "DELETE", "/api/v1/servers/pc2", &Value::Null).status, 409);
    let report = order(&stage, "DELETE", "/api/v1/pools/two/members/pc2?force=true", Value::Null);
    assert_eq!(report["cut"], json!(0));
    assert!(report["notes"].to_string().contains("two"), "the pool is empty now: {report}");
}

#[test]
fn a_file_that_somebody_is_editing_is_left_alone_until_it_is_in_force() {
    let stage = stage(2, "nat");
    let before = file(&stage);
    let broken = before.replace("scheduler:", "schedular:");
    stage.configure_text(&broken);
    order(&stage, "POST", &format!("{PC1}/drain"), json!({"then": "remove"}));
    stage.wait("the alarm says why", |s| s.warnings().contains("has an error"));
    assert_eq!(file(&stage), broken);
    assert_eq!(ask(&stage, "DELETE", PC1, &Value::Null).status, 409);
    assert_eq!(stage.ask(ONE, 20).of("pc2"), 20, "it stays drained");
    // Repaired, with a change of his own that nobody has loaded.
    stage.configure_text(&before.replace("hostname: lb1", "hostname: lb9"));
    let refused = ask(&stage, "DELETE", PC1, &Value::Null);
    assert!(refused.status == 409 && refused.body.contains("not in force yet"), "{refused:?}");
    assert_eq!(stage.api().reload().status, 200);
    assert_eq!(order(&stage, "DELETE", PC1, Value::Null)["removed"], true);
    let after = file(&stage);
    assert!(after.contains("hostname: lb9") && !after.contains("pc1: {"), "{after}");
    stage.wait("the alarm is over", |s| !s.warnings().contains("was to be taken out"));
}

#[test]
fn a_member_that_its_pool_needs_to_have_enough_up_is_drained_only_by_force() {
    let pool =
        |min_up| format!("members: [pc1, pc2, pc3], scheduler: round-robin, min-up: {min_up}, below-min: refuse");
    let service = |port, pool| format!("port: {port}, pool: {pool}, mode: nat");
    let conf = Conf::new(3)
        .pool("one", &pool(2))
        .pool("two", &pool(1))
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "one", &service(7, "one"))
        .service("v", "two", &service(110, "two"));
    let mut stage = Stage::without_balancer(3);
    stage.configure_text(&conf.text());
    stage.start();
    stage.wait("every member is scheduled", State::all_scheduled);
    order(&stage, "POST", &format!("{PC1}/drain"), json!({}));

    let refused = ask(&stage, "POST", "/api/v1/servers/pc2/drain", &Value::Null);
    assert_eq!((refused.status, &refused.json()["pools"]), (409, &json!(["one"])), "{refused:?}");
    let words = "pool \"one\" would have 1 of at least 2 members up (min-up), and refuse new connections";
    assert!(refused.json()["detail"].as_str().unwrap().contains(words), "{refused:?}");
    assert_eq!(stage.ask(ONE, 20).of("pc2"), 10, "a refused order changes nothing");
    // The other pool needs but one, and what is drained already is needed by nobody.
    order(&stage, "POST", "/api/v1/pools/two/members/pc2/drain", json!({}));
    order(&stage, "POST", &format!("{PC1}/drain"), json!({"deadline": "1h"}));

    order(&stage, "POST", "/api/v1/servers/pc2/drain", json!({"force": true}));
    stage.wait("nobody is scheduled, as the pool has it", |s| s.member("v/one", "pc3")["why"] != "scheduled");
    assert_eq!(stage.ask(TWO, 10).of("pc3"), 10);
}
