//! The event log of a daemon that lives, dies, and comes back.

use std::process::Command;

use serde_json::Value;

use super::conf::{Conf, echo};
use super::stage::{LBD, Stage, until};

/// What `show events` says, as JSON.
fn events(stage: &Stage, words: &str) -> Vec<Value> {
    let text = stage.typed(&format!("show events {words} last 10000 | json"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn named<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

fn stage() -> Stage {
    Stage::new(2, &echo(2, "nat"))
}

#[test]
fn what_happens_is_told_by_class_and_is_there_after_a_kill() {
    let mut stage = stage();
    stage.kill_server("pc2");
    until("pc2 is down", || !named(&events(&stage, "class health"), "check-down").is_empty());
    let down = events(&stage, "class health severity warning");
    let down = named(&down, "check-down")[0];
    assert_eq!((&down["fields"]["server"], &down["fields"]["from"]), (&"pc2".into(), &"up".into()), "{down}");
    stage.kill_server("pc1");
    until("nobody serves", || !named(&events(&stage, "severity error"), "service-down").is_empty());
    stage.start_server("pc1");
    until("somebody serves", || !named(&events(&stage, ""), "service-up").is_empty());
    stage.typed("server drain pc2");
    stage.typed("write memory");
    let before = events(&stage, "");
    assert_eq!(named(&before, "ordered")[0]["fields"]["to"], "draining");
    assert_eq!(named(&before, "started").len(), 1, "{before:?}");
    let text = stage.typed("show events class order");
    assert!(text.contains(" notice  order: server pc2: enabled -> draining by the operator"), "{text}");

    stage.kill_balancer();
    stage.start();
    let after = events(&stage, "");
    assert_eq!(after[..before.len()], before, "what was there is there again");
    let started = *named(&after, "started").last().unwrap();
    assert!(started["number"].as_u64() > before.last().unwrap()["number"].as_u64(), "{started}");
    assert_eq!(started["fields"]["data_plane"], "taken over with its connections");

    assert!(stage.stop_balancer().success());
    let text = std::fs::read_to_string(stage.dir().join("state/events/daemon.jsonl")).unwrap();
    assert!(text.lines().last().unwrap().contains("\"stopping\""), "the last word is written: {text}");
}

#[test]
fn configurations_ports_and_alarms_leave_events() {
    let conf: Conf = echo(2, "nat");
    let stage = Stage::new(2, &conf);
    stage.configure(&conf.clone().server(2, "weight: 5"));
    stage.hang_up();
    until("another one is in force", || !named(&events(&stage, "class config"), "configured").is_empty());
    stage.configure_text("hostname: [\n");
    stage.hang_up();
    until("a bad one is refused", || {
        !named(&events(&stage, "class config severity error"), "config-refused").is_empty()
    });
    stage.run("pc2", "ip", &["link", "set", "eth0", "down"]);
    until("the port is down", || !named(&events(&stage, "class link"), "port-down").is_empty());
    stage.run("pc2", "ip", &["link", "set", "eth0", "up"]);
    until("the port is up", || !named(&events(&stage, "class link"), "port-up").is_empty());
    let ports = events(&stage, "class link");
    assert_eq!(named(&ports, "port-down")[0]["fields"]["port"], "p2");
    let refused = Command::new(LBD)
        .args(["console", "--run-dir"])
        .arg(stage.dir().join("run"))
        .args(["show", "events", "class", "nonsense"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}
