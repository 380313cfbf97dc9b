//! Whatever a client sends, it gets an answer that blames the client, and the listener lives.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::support::{Fake, ask, get, start};

/// A runtime with a server, for tests that are not asynchronous themselves.
fn server() -> (Runtime, SocketAddr) {
    let runtime = Runtime::new().unwrap();
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move {
        let server = start(Fake::default()).await;
        sender.send(server.address).unwrap();
        std::future::pending::<()>().await;
    });
    let address = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    (runtime, address)
}

fn check<S: Strategy>(strategy: S, ask: impl Fn(&Runtime, SocketAddr, S::Value) -> Result<(), TestCaseError>)
where
    S::Value: Clone,
{
    let (runtime, address) = server();
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(&strategy, |value| ask(&runtime, address, value)).unwrap();
    assert_eq!(runtime.block_on(get(address, "/healthz")).status, 200);
}

/// Percent-encoded where it must be to stand in a request line.
fn encoded(bytes: &[u8], keep: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b if b.is_ascii_alphanumeric() || keep.contains(b) => char::from(*b).to_string(),
            b => format!("%{b:02x}"),
        })
        .collect()
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let known = ["client", "virtual_server", "service", "server", "protocol", "state", "limit", "format"];
    prop_oneof![
        6 => proptest::sample::select(known.to_vec()).prop_map(|key| key.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let good =
        ["10.0.0.1", "::1", "mail", "smtp", "pc2", "tcp", "udp", "closing", "1", "10000000", "json", "ndjson", ""];
    prop_oneof![
        3 => proptest::sample::select(good.to_vec()).prop_map(|value| value.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => "\\PC{0,20}".prop_map(String::into_bytes),
    ]
}

#[test]
fn any_query_is_answered_or_refused() {
    check(proptest::collection::vec((key(), value()), 0..5), |runtime, address, pairs| {
        let query: Vec<String> = pairs
            .iter()
            .map(|(key, value)| format!("{}={}", encoded(key, b"_-.:"), encoded(value, b"&=%+:._-")))
            .collect();
        let answer = runtime.block_on(get(address, &format!("/api/v1/connections?{}", query.join("&"))));
        prop_assert!([200, 400].contains(&answer.status), "{answer:?}");
        Ok(())
    });
}

#[test]
fn any_name_of_a_server_is_known_or_not() {
    check(proptest::collection::vec(any::<u8>(), 1..40), |runtime, address, name| {
        let path = format!("/api/v1/servers/{}/admin", encoded(&name, b""));
        let answer = runtime.block_on(ask(address, "PUT", &path, Some(r#"{"state":"draining"}"#)));
        prop_assert!([200, 400, 404].contains(&answer.status), "{answer:?}");
        Ok(())
    });
}

#[test]
fn any_body_is_understood_or_refused() {
    let text = prop_oneof![
        "\\PC{0,60}",
        r#"\{"(state|force|x)": ?("(enabled|draining|disabled|x)"|true|1e999|\[|null)(,"force":(true|false|0))?\}?"#,
        (1..60_000_usize).prop_map(|depth| "[".repeat(depth)),
    ];
    check(text, |runtime, address, body| {
        let answer = runtime.block_on(ask(address, "PUT", "/api/v1/servers/pc2/admin", Some(&body)));
        prop_assert!([200, 400].contains(&answer.status), "{answer:?}");
        let answer = runtime.block_on(ask(address, "POST", "/api/v1/config/reload", Some(&body)));
        prop_assert!([200, 400].contains(&answer.status), "{answer:?}");
        Ok(())
    });
}

#[test]
fn any_bytes_are_answered_without_blaming_the_server_or_not_at_all() {
    let line =
        "(GET|PUT|POST|HEAD|X) (/|/metrics|/api/v1/state|\\*|http://localhost/healthz|\\PC{0,10}) HTTP/1\\.[01]\r\n";
    let header = "(Host: localhost|Content-Length: [0-9-]{1,20}|Transfer-Encoding: (chunked|gzip)|Expect: 100-continue|\\PC{0,20})\r\n";
    let made = (line, proptest::collection::vec(header, 0..6), "\\PC{0,40}")
        .prop_map(|(line, headers, body)| format!("{line}{}\r\n{body}", headers.concat()).into_bytes());
    let bytes = prop_oneof![made, proptest::collection::vec(any::<u8>(), 0..300)];
    check(bytes, |runtime, address, bytes| {
        let answer = runtime.block_on(async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
            read.is_ok().then_some(answer)
        });
        let Some(answer) = answer else { return Err(TestCaseError::fail("no end within 20 s")) };
        prop_assert!(!answer.starts_with(b"HTTP/1.1 5"), "{:?}", String::from_utf8_lossy(&answer));
        Ok(())
    });
}
