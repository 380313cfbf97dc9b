//! Paths, methods, hosts, deadlines, and the beginning and end of the listener.

use std::time::{Duration, Instant};

use lbd::http::{HEAD_BYTES_MAX, Limits};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{raw, read};
use crate::support::{Fake, ask, get, start, start_with};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";

#[tokio::test]
async fn a_path_that_there_is_not_is_answered_with_one_that_looks_alike() {
    let server = start(Fake::default()).await;
    for (path, near) in
        [("/metric", "/metrics"), ("/healtz", "/healthz"), ("/api/v1/conections", "/api/v1/connections")]
    {
        let answer = get(server.address, path).await;
        assert_eq!((answer.status, &answer.problem()["suggestion"]), (404, &json!(near)));
    }
    let answer = get(server.address, "/nothing-like-it").await;
    assert_eq!(answer.problem()["see"], "/api/v1/openapi.json");
    let answer = get(server.address, &format!("/{}", "x".repeat(8_000))).await;
    assert!(answer.status == 404 && answer.body.len() < 1_000, "what is quoted is short: {answer:?}");
}

#[tokio::test]
async fn a_method_that_does_not_go_with_a_path_is_answered_with_those_that_do() {
    let server = start(Fake::default()).await;
    for (method, path, allow) in [
        ("POST", "/metrics", "GET,HEAD"),
        ("DELETE", "/api/v1/state", "GET,HEAD"),
        ("OPTIONS", "/api/v1/servers/pc1/admin", "PUT"),
        ("OPTIONS", "/api/v1/servers/pc1", "DELETE"),
        ("GET", "/api/v1/pools/mx/members/pc1/drain", "POST"),
        ("GET", "/api/v1/config/reload", "POST"),
        ("BREW", "/healthz", "GET,HEAD"),
    ] {
        let answer = ask(server.address, method, path, None).await;
        assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, allow), "{method} {path}");
        answer.problem();
        assert!(!answer.headers.keys().any(|name| name.starts_with("access-control")));
    }
    let answer = ask(server.address, "HEAD", "/healthz", None).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[tokio::test]
async fn a_request_for_another_host_is_refused_on_every_path() {
    let server = start(Fake::default()).await;
    for path in ["/healthz", "/metrics", "/api/v1/state", "/nowhere"] {
        let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\nHost: evil.example:8080\r\n\r\n");
        let answer = raw(server.address, request).await;
        assert_eq!((answer.status, &answer.problem()["key"]), (421, &json!("Host")));
    }
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("GET http://evil.example/healthz HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n\r\n", 421),
        ("GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: \r\n\r\n", 421),
        ("GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: \u{e9}\r\n\r\n", 421),
        ("GET http://127.0.0.1:9/healthz HTTP/1.1\r\nConnection: close\r\nHost: [::1]:9\r\n\r\n", 200),
    ] {
        assert_eq!(raw(server.address, request).await.status, status, "{request}");
    }
}

#[tokio::test]
async fn a_head_that_comes_drop_by_drop_is_cut_off_in_time() {
    let limits = Limits { request: Duration::from_millis(400), ..Limits::default() };
    let server = start_with(Fake::default(), limits).await;
    let begun = Instant::now();
    let (mut receive, mut send) = TcpStream::connect(server.address).await.unwrap().into_split();
    let drops = tokio::spawn(async move {
        for byte in HEALTH.bytes().cycle() {
            if send.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut received = Vec::new();
    let _ = receive.read_to_end(&mut received).await;
    assert!((400..5_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    drops.abort();
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed_in_time_and_so_is_one_that_asks_nothing_more() {
    let limits = Limits { request: Duration::from_millis(300), ..Limits::default() };
    let server = start_with(Fake::default(), limits).await;
    for request in ["", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.is_empty(), request.is_empty());
        assert!((250..5_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_in_time() {
    let limits = Limits { request: Duration::from_millis(300), ..Limits::default() };
    let server = start_with(Fake::default(), limits).await;
    let request = "PUT /api/v1/servers/pc2/admin HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                   Content-Length: 20\r\n\r\n{";
    let answer = raw(server.address, request).await;
    assert_eq!((answer.status, &answer.problem()["detail"]), (408, &json!("the body did not come within 0.3 s")));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = start(Fake::default()).await;
    let request = format!("{HEALTH}X: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    assert_eq!(raw(server.address, request).await.status, 431);
    let many: String = (0..70).map(|n| format!("X-{n}: 1\r\n")).collect();
    assert_eq!(raw(server.address, format!("{HEALTH}{many}\r\n")).await.status, 431);
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_one_ends() {
    let server = start_with(Fake::default(), Limits { connections: 2, ..Limits::default() }).await;
    let first = TcpStream::connect(server.address).await.unwrap();
    let _second = TcpStream::connect(server.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let third = tokio::spawn(get(server.address, "/healthz"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!third.is_finished());
    drop(first);
    let answer = tokio::time::timeout(Duration::from_secs(5), third).await.unwrap().unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_connection_lives_no_longer_than_it_may_and_its_last_answer_is_complete() {
    let limits = Limits { connection: Duration::from_millis(200), ..Limits::default() };
    let server = start_with(Fake { delay: Duration::from_millis(400), ..Fake::default() }, limits).await;
    let answer = raw(server.address, format!("{HEALTH}\r\n")).await;
    assert_eq!((answer.status, answer.complete), (200, true));
}

#[tokio::test]
async fn at_the_end_answers_under_way_are_completed_and_nothing_new_is_taken() {
    let server = start(Fake { delay: Duration::from_millis(400), ..Fake::default() }).await;
    let address = server.address;
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(format!("{HEALTH}\r\n").as_bytes()).await.unwrap();
    let _idle = TcpStream::connect(address).await.unwrap();
    server.asked().await;
    let begun = Instant::now();
    let stopping = server.stop();
    let answer = read(busy).await;
    assert_eq!((answer.status, answer.complete), (200, true));
    stopping.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "an idle connection holds nobody up: {:?}", begun.elapsed());
    assert!(TcpStream::connect(address).await.is_err());
    tokio::net::TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn at_the_end_an_answer_that_does_not_end_is_cut_off() {
    let limits = Limits { farewell: Duration::from_millis(200), ..Limits::default() };
    let server = start_with(Fake { delay: Duration::from_secs(3600), ..Fake::default() }, limits).await;
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(format!("{HEALTH}\r\n").as_bytes()).await.unwrap();
    server.asked().await;
    tokio::time::timeout(Duration::from_secs(5), server.stop()).await.unwrap().unwrap();
}
