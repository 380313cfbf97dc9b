//! Orders: a server's administrative state, and the reload.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lbd::core::admin::{AdminState, Then};
use lbd::core::control::{Action, Order};
use lbd::http::{BODY_BYTES_MAX, Limits};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client::raw;
use crate::support::{Fake, ask, eventually, start, start_with};

const PC2: &str = "/api/v1/servers/pc2/admin";
const RELOAD: &str = "/api/v1/config/reload";

#[tokio::test]
async fn an_order_to_a_server_is_answered_with_its_state_and_its_connections() {
    let server = start(Fake::default()).await;
    for (order, before, state) in [
        (r#"{"state": "draining"}"#, "enabled", AdminState::Draining),
        (r#"{"state": "disabled", "force": true}"#, "draining", AdminState::Disabled),
        (r#"{"force": false, "state": "enabled"}"#, "disabled", AdminState::Enabled),
    ] {
        let answer = ask(server.address, "PUT", PC2, Some(order)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let expected = json!({
            "server": "pc2", "pool": null, "before": before, "state": state, "connections": 110_000, "cut": 0,
            "deadline_at": null, "then": "nothing", "removed": false, "notes": [],
        });
        assert_eq!(answer.json(), expected);
        assert_eq!(server.fake.state.lock().unwrap().servers[0].admin, state);
    }
}

#[tokio::test]
async fn a_server_that_there_is_not_is_answered_with_one_that_looks_alike() {
    let server = start(Fake::default()).await;
    let answer = ask(server.address, "PUT", "/api/v1/servers/pc22/admin", Some(r#"{"state":"draining"}"#)).await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.problem(),
        json!({
            "title": "Not Found", "status": 404, "server": "pc22", "suggestion": "pc2",
            "detail": "there is no server \"pc22\"; did you mean \"pc2\"?",
        })
    );
    // A name that no server can have, and one that is not even text.
    let answer = ask(server.address, "PUT", "/api/v1/servers/a%20b/admin", Some(r#"{"state":"draining"}"#)).await;
    assert_eq!((answer.status, &answer.problem()["server"]), (404, &json!("a b")));
    let answer = ask(server.address, "PUT", "/api/v1/servers/%ff/admin", Some(r#"{"state":"draining"}"#)).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn the_last_member_of_a_service_is_drained_only_by_force() {
    let server = start(Fake::default()).await;
    let path = "/api/v1/servers/pc4/admin";
    let answer = ask(server.address, "PUT", path, Some(r#"{"state":"draining"}"#)).await;
    assert_eq!(answer.status, 409);
    let problem = answer.problem();
    assert_eq!(problem["services"], json!(["mail/smtp", "mail/pop3"]));
    assert!(problem["detail"].as_str().unwrap().contains("use force"), "{problem}");
    assert_eq!(server.fake.state.lock().unwrap().servers[1].admin, AdminState::Enabled);
    let answer = ask(server.address, "PUT", path, Some(r#"{"state":"draining","force":true}"#)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_body_that_is_wrong_is_refused_with_the_place_and_changes_nothing() {
    let server = start(Fake::default()).await;
    for (body, line, column, word) in [
        ("", 1, 0, "not JSON"),
        ("{", 1, 1, "not JSON"),
        ("{\n  \"state\": draining\n}", 2, 12, "not JSON"),
        ("{\n  \"state\": \"drained\"\n}", 2, 20, "one of `enabled`, `draining`, `disabled`"),
        (r#"{"state":"draining","forse":true}"#, 1, 27, "unknown field `forse`"),
        (r#"{"state":"draining","state":"enabled"}"#, 1, 27, "duplicate field `state`"),
        (r#"{"state":"draining","force":"yes"}"#, 1, 33, "expected a boolean"),
        (r#"{"force":true}"#, 1, 14, "missing field `state`"),
        (r#"{"state":"draining"} {}"#, 1, 22, "trailing characters"),
        ("null", 1, 4, "expected an object like {\"state\": \"draining\"}"),
    ] {
        let answer = ask(server.address, "PUT", PC2, Some(body)).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        let problem = answer.problem();
        assert_eq!((&problem["line"], &problem["column"]), (&json!(line), &json!(column)), "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{body}: {problem}");
    }
    assert_eq!(server.fake.done.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_order_that_does_not_say_that_it_is_json_is_refused() {
    let server = start(Fake::default()).await;
    let body = r#"{"state":"draining"}"#;
    for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        for (method, path) in [("PUT", PC2), ("POST", RELOAD)] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = raw(server.address, request).await;
            assert_eq!(answer.status, 415);
            assert_eq!(answer.problem()["key"], "Content-Type");
        }
    }
    let request = format!(
        "PUT {PC2} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: Application/JSON; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(raw(server.address, request).await.status, 200);
    assert_eq!(server.fake.done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_of_64_kib_is_read_and_one_byte_more_is_refused() {
    let server = start(Fake::default()).await;
    let order = r#"{"state":"draining"}"#;
    let fitting = format!("{order}{}", " ".repeat(BODY_BYTES_MAX - order.len()));
    assert_eq!(ask(server.address, "PUT", PC2, Some(&fitting)).await.status, 200);
    let larger = fitting + " ";
    let answer = ask(server.address, "PUT", PC2, Some(&larger)).await;
    assert_eq!((answer.status, &answer.problem()["bytes_max"]), (413, &json!(BODY_BYTES_MAX)));

    // A length that is not told beforehand.
    let request = format!(
        "PUT {PC2} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{larger}\r\n0\r\n\r\n",
        larger.len()
    );
    assert_eq!(raw(server.address, request).await.status, 413);
    assert_eq!(server.fake.done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_reload_tells_what_it_came_to() {
    let server = start(Fake::default()).await;
    for body in ["", "{}"] {
        let answer = ask(server.address, "POST", RELOAD, Some(body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json(), json!({"revision": 4, "changed": true, "notes": ["pool `web` is not used"]}));
    }
    assert_eq!(ask(server.address, "POST", RELOAD, Some(r#"{"file":"x"}"#)).await.status, 400);
}

#[tokio::test]
async fn a_refused_configuration_is_answered_with_every_diagnostic_and_its_place() {
    let file = "servers:\n  pc1: { address: 10.1.0.1, weight: 5000 }\n  pc2: { adress: 10.1.0.2 }\n";
    let server = start(Fake { file, ..Fake::default() }).await;
    let answer = ask(server.address, "POST", RELOAD, Some("{}")).await;
    assert_eq!(answer.status, 422);
    let problem = answer.problem();
    assert_eq!(problem["file"], "lb.yaml");
    assert!(problem["detail"].as_str().unwrap().contains("lb.yaml:3:10"), "{problem}");
    let first = &problem["diagnostics"][0];
    assert_eq!((&first["line"], &first["column"]), (&json!(3), &json!(10)), "{problem}");
    assert!(first["message"].is_string() && first["help"].is_string(), "{problem}");
}

#[tokio::test]
async fn an_order_once_begun_is_carried_out_although_its_client_goes_away() {
    let server = start(Fake { delay: Duration::from_secs(1), ..Fake::default() }).await;
    let body = r#"{"state":"draining"}"#;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "PUT {PC2} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    server.asked().await;
    assert_eq!(server.fake.done.load(Ordering::SeqCst), 0);
    drop(stream);
    eventually("the order is carried out", || server.fake.done.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn an_order_that_takes_too_long_is_answered_so_and_the_next_waits_for_it_only_so_long() {
    let limits = Limits { answer: Duration::from_millis(200), ..Limits::default() };
    let server = start_with(Fake { delay: Duration::from_secs(3600), ..Fake::default() }, limits).await;
    let order = Some(r#"{"state":"draining"}"#);
    let answer = ask(server.address, "PUT", PC2, order).await;
    assert_eq!(answer.status, 503);
    let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, "the daemon did not answer within 0.2 s; the order may still take effect");
    let answer = ask(server.address, "PUT", PC2, order).await;
    assert_eq!(answer.problem()["detail"], "the daemon did not answer within 0.2 s");
}

#[tokio::test]
async fn an_operation_that_dies_is_an_answer_and_takes_nothing_with_it() {
    let server = start(Fake { panics: true, ..Fake::default() }).await;
    for _ in 0..2 {
        let answer = ask(server.address, "PUT", PC2, Some(r#"{"state":"draining"}"#)).await;
        assert_eq!(answer.status, 500);
        assert!(answer.problem()["detail"].as_str().unwrap().contains("died"));
    }
    assert_eq!(crate::support::get(server.address, "/healthz").await.status, 200);
}

const DRAIN: &str = "/api/v1/servers/pc2/drain";

#[tokio::test]
async fn each_path_and_body_is_one_order() {
    let server = start(Fake::default()).await;
    let drain = |deadline: Option<u64>, then| Action::Drain { deadline: deadline.map(Duration::from_secs), then };
    let member = "/api/v1/pools/mx/members/pc2";
    for (method, path, body, pool, action, force) in [
        ("POST", DRAIN.to_owned(), "", None, drain(None, Then::Nothing), false),
        ("POST", DRAIN.to_owned(), r#"{"deadline":"30m"}"#, None, drain(Some(1_800), Then::Nothing), false),
        (
            "POST",
            DRAIN.to_owned(),
            r#"{"then":"remove","force":true,"deadline":"0s"}"#,
            None,
            drain(Some(0), Then::Remove),
            true,
        ),
        ("POST", "/api/v1/servers/pc2/enable".to_owned(), "{}", None, Action::Enable, false),
        ("POST", "/api/v1/servers/pc2/disable".to_owned(), r#"{"force":true}"#, None, Action::Disable, true),
        ("DELETE", "/api/v1/servers/pc2?force=true".to_owned(), "", None, Action::Remove, true),
        ("POST", format!("{member}/drain"), r#"{"then":"nothing"}"#, Some("mx"), drain(None, Then::Nothing), false),
        ("POST", format!("{member}/enable"), "", Some("mx"), Action::Enable, false),
        ("POST", format!("{member}/disable"), "", Some("mx"), Action::Disable, false),
        ("DELETE", format!("{member}?force=true"), "", Some("mx"), Action::Remove, true),
    ] {
        let answer = ask(server.address, method, &path, Some(body)).await;
        assert_eq!(answer.status, 200, "{method} {path} {body}: {answer:?}");
        assert_eq!(answer.json()["pool"], json!(pool));
        let order = Order { server: "pc2".into(), pool: pool.map(str::to_owned), action, force };
        assert_eq!(server.fake.ordered.lock().unwrap().take(), Some(order), "{method} {path} {body}");
    }
}

#[tokio::test]
async fn a_drain_is_answered_with_its_deadline_and_a_removal_with_what_it_cut() {
    let server = start(Fake::default()).await;
    let answer = ask(server.address, "POST", DRAIN, Some(r#"{"deadline":"30m","then":"remove"}"#)).await.json();
    assert_eq!((&answer["deadline_at"], &answer["then"]), (&json!(1_795_001_800), &json!("remove")));
    let path = "/api/v1/servers/pc2";
    for refused in [path.to_owned(), format!("{path}?force=false")] {
        let answer = ask(server.address, "DELETE", &refused, None).await;
        assert_eq!(answer.status, 409);
        let problem = answer.problem();
        assert_eq!((&problem["connections"], &problem["state"]), (&json!(110_000), &json!("draining")));
        assert!(problem["detail"].as_str().unwrap().contains("use force, which ends them"), "{problem}");
    }
    let answer = ask(server.address, "DELETE", &format!("{path}?force=true"), None).await.json();
    assert_eq!((&answer["cut"], &answer["removed"]), (&json!(110_000), &json!(true)));
}

#[tokio::test]
async fn an_order_that_is_not_understood_is_refused_and_changes_nothing() {
    let server = start(Fake::default()).await;
    for (body, word) in [
        (r#"{"deadline":"30"}"#, "`30` has no unit"),
        (r#"{"deadline":"soon"}"#, "is not a time"),
        (r#"{"deadline":"8d"}"#, "from 0s to 7d"),
        (r#"{"deadline":30}"#, "invalid type"),
        (r#"[null, "nothing"]"#, "it is a list"),
        (r#"{"then":"reboot"}"#, "expected `nothing` or `remove`"),
        (r#"{"dead-line":"30m"}"#, "unknown field"),
        ("null", "an object like"),
    ] {
        let answer = ask(server.address, "POST", DRAIN, Some(body)).await;
        assert_eq!(answer.status, 400, "{body}");
        let problem = answer.problem();
        assert!(problem["detail"].as_str().unwrap().contains(word), "{body}: {problem}");
    }
    for (query, word) in [
        ("force=yes", "true or false"),
        ("forse=true", "there is `force`"),
        ("force=true&force=true", "given twice"),
        ("force", "true or false"),
    ] {
        let answer = ask(server.address, "DELETE", &format!("/api/v1/servers/pc2?{query}"), None).await;
        assert_eq!(answer.status, 400, "{query}");
        let problem = answer.problem();
        assert!(problem["detail"].as_str().unwrap().contains(word), "{query}: {problem}");
    }
    assert_eq!(server.fake.done.load(Ordering::SeqCst), 0);
    let answer = ask(server.address, "POST", "/api/v1/pools/mxx/members/pc2/drain", Some("")).await;
    assert_eq!((answer.status, &answer.problem()["suggestion"]), (404, &json!("mx")));
}

#[tokio::test]
async fn a_choice_of_a_configuration_says_whose_and_nothing_else() {
    let server = start(Fake::default()).await;
    let path = "/api/v1/pair/config";
    let answer = ask(server.address, "POST", path, Some(r#"{"take": "own"}"#)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "ordered": true })));
    let answer = ask(server.address, "POST", path, Some(r#"{"take": "peer"}"#)).await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.problem()["detail"], "no choice of a configuration: both boxes have the same");
    for wrong in [r#"{"take": "theirs"}"#, r#"{"take": "own", "force": true}"#, "{}", ""] {
        let answer = ask(server.address, "POST", path, Some(wrong)).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
    assert_eq!(server.fake.done.load(Ordering::SeqCst), 1);
}
