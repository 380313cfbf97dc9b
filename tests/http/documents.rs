//! State, health and metrics, and that docs/http.md knows all of it.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use lbd::core::control::{ConnectionRow, Control, HistoryState, OrderReport, ReloadReport, State};
use lbd::core::events::What;
use lbd::http::Limits;
use serde_json::Value;

use crate::support::{Fake, get, start, start_with};

const DOCUMENTATION: &str = include_str!("../../docs/http.md");
const MONITORING: &str = include_str!("../../docs/monitoring.md");

#[tokio::test]
async fn the_state_is_told_as_json_in_the_words_of_the_configuration() {
    let server = start(Fake::default()).await;
    let answer = get(server.address, "/api/v1/state").await;
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "application/json"));
    assert_eq!(answer.headers["cache-control"], "no-store");
    insta::assert_snapshot!(serde_json::to_string_pretty(&answer.json()).unwrap());
}

#[tokio::test]
async fn a_daemon_that_answers_is_healthy_and_one_that_does_not_is_not() {
    let server = start(Fake::default()).await;
    let answer = get(server.address, "/healthz").await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"status":"ok","role":"active"}"#));

    let hanging = Fake { delay: Duration::from_secs(3600), ..Fake::default() };
    let server = start_with(hanging, Limits { answer: Duration::from_millis(100), ..Limits::default() }).await;
    for path in ["/healthz", "/metrics", "/api/v1/state"] {
        let answer = get(server.address, path).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.problem()["detail"], "the daemon did not answer within 0.1 s");
    }
}

#[tokio::test]
async fn the_metrics_are_those_of_the_moment_of_the_scrape() {
    let server = start(Fake::default()).await;
    let answer = get(server.address, "/metrics").await;
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "text/plain; version=0.0.4"));
    insta::assert_snapshot!(answer.text());

    server.fake.state.lock().unwrap().services.clear();
    server.fake.state.lock().unwrap().uptime_seconds = 11_001;
    let text = get(server.address, "/metrics").await.text().to_owned();
    assert!(text.contains("\nlbd_uptime_seconds 11001\n"), "{text}");
    assert!(!text.contains("lbd_member") && !text.contains("lbd_service"), "a service that is gone is gone: {text}");
}

#[tokio::test]
async fn promtool_finds_nothing_to_say_against_the_metrics() {
    let server = start(Fake::default()).await;
    let text = get(server.address, "/metrics").await.text().to_owned();
    let (success, output) = tokio::task::spawn_blocking(move || promtool(&text)).await.unwrap();
    assert!(success && output.trim().is_empty(), "promtool: {output}");
    let (success, _) = tokio::task::spawn_blocking(|| promtool("lbd_x{ 1\n")).await.unwrap();
    assert!(!success, "promtool finds fault with what is wrong");
}

fn promtool(text: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing; it is in Debian's package `prometheus`, which `make test` installs");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn the_documentation_names_every_metric() {
    let server = start(Fake::default()).await;
    let text = get(server.address, "/metrics").await.text().to_owned();
    let names: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(names.len() > 30, "{names:?}");
    let missing: Vec<&&str> = names.iter().filter(|name| !MONITORING.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/monitoring.md: {missing:?}");
    // Words in quotes, as a name and its labels or alone.
    for quoted in MONITORING.split('`').filter(|word| word.starts_with("lbd_")) {
        let documented = quoted.split(['{', ' ']).next().unwrap();
        assert!(names.contains(documented), "docs/monitoring.md tells of {documented}, which there is not");
    }
}

#[test]
fn the_documentation_names_every_field() {
    let mut fields = BTreeSet::new();
    for schema in [
        schemars::schema_for!(State),
        schemars::schema_for!(ConnectionRow),
        schemars::schema_for!(OrderReport),
        schemars::schema_for!(ReloadReport),
        schemars::schema_for!(HistoryState),
    ] {
        collect(schema.as_value(), &mut fields);
    }
    assert!(fields.len() > 60, "{fields:?}");
    let missing: Vec<&String> = fields.iter().filter(|field| !DOCUMENTATION.contains(&format!("`{field}`"))).collect();
    assert!(missing.is_empty(), "not in docs/http.md: {missing:?}");
}

fn collect(schema: &Value, fields: &mut BTreeSet<String>) {
    if let Some(Value::Object(properties)) = schema.get("properties") {
        fields.extend(properties.keys().cloned());
    }
    match schema {
        Value::Object(members) => members.values().for_each(|member| collect(member, fields)),
        Value::Array(members) => members.iter().for_each(|member| collect(member, fields)),
        _ => {}
    }
}

#[tokio::test]
async fn events_come_in_pages_and_a_word_that_there_is_not_is_refused() {
    let fake = Fake::default();
    for n in 0..150 {
        fake.happened(What::PortDown { port: format!("p{n}") });
    }
    fake.happened(What::OwnerBecame {});
    let server = start(fake).await;
    let page = get(server.address, "/api/v1/events").await.json();
    let numbers = |page: &serde_json::Value| -> Vec<u64> {
        page["events"].as_array().unwrap().iter().map(|event| event["number"].as_u64().unwrap()).collect()
    };
    assert_eq!((numbers(&page), &page["more"]), ((52..=151).collect(), &true.into()));
    let older = get(server.address, "/api/v1/events?before=52").await.json();
    assert_eq!((numbers(&older), &older["more"]), ((1..=51).collect(), &false.into()));
    let pair = get(server.address, "/api/v1/events?class=pair&severity=warning&limit=5").await.json();
    assert_eq!(pair["events"][0]["event"], "owner-became", "{pair}");
    assert_eq!(numbers(&get(server.address, "/api/v1/events?after=149&class=link").await.json()), [150]);
    for (query, key) in
        [("class=pear", "class"), ("severity=bad", "severity"), ("limit=0", "limit"), ("last=1", "last")]
    {
        let answer = get(server.address, &format!("/api/v1/events?{query}")).await;
        assert_eq!((answer.status, &answer.problem()["key"]), (400, &key.into()), "{query}");
    }
}
