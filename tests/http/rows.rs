//! Connections: filters, formats, ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lbd::config::{Name, Protocol};
use lbd::core::control::{Filter, FlowState};
use lbd::http::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::fake::End;
use crate::support::{Fake, eventually, get, start, start_with};

const PATH: &str = "/api/v1/connections";

#[tokio::test]
async fn connections_come_as_an_array_or_as_lines() {
    let server = start(Fake::default()).await;
    let answer = get(server.address, PATH).await;
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "application/json"));
    let rows = answer.json();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!((&rows[2]["client"], &rows[2]["server"]), (&json!("10.0.0.2"), &json!("pc2")));

    let answer = get(server.address, &format!("{PATH}?format=ndjson")).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(lines), rows);
}

#[tokio::test]
async fn no_connections_are_an_empty_array_or_no_lines() {
    let server = start(Fake { rows: 0, ..Fake::default() }).await;
    assert_eq!(get(server.address, PATH).await.json(), json!([]));
    let answer = get(server.address, &format!("{PATH}?format=ndjson")).await;
    assert_eq!((answer.status, answer.text(), answer.complete), (200, "", true));
}

#[tokio::test]
async fn rows_of_many_chunks_make_one_document_and_a_limit_ends_it() {
    let server = start(Fake { rows: 10_000, ..Fake::default() }).await;
    for (query, expected) in [("", 1_000), ("?limit=10000000", 10_000), ("?limit=1", 1), ("?limit=2049", 2_049)] {
        let rows = get(server.address, &format!("{PATH}{query}")).await.json();
        assert_eq!(rows.as_array().unwrap().len(), expected, "{query}");
        assert_eq!(rows[expected - 1]["client"], json!(std::net::Ipv4Addr::from(0x0a00_0000 + expected as u32 - 1)));
    }
    // Far into the table, after chunks without any row that is asked for.
    let rows = get(server.address, &format!("{PATH}?client=10.0.39.15")).await.json();
    assert_eq!(rows.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn every_key_of_the_query_reaches_the_filter() {
    let server = start(Fake::default()).await;
    let query =
        "?client=%3A%3Affff%3A10.0.0.1&virtual_server=mail&service=smtp&server=pc2&protocol=tcp&state=closing&limit=7";
    let rows = get(server.address, &format!("{PATH}{query}")).await.json();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    let name = |text| Some(Name::new(text).unwrap());
    let expected = Filter {
        client: Some("10.0.0.1".parse().unwrap()),
        virtual_server: name("mail"),
        service: name("smtp"),
        server: name("pc2"),
        protocol: Some(Protocol::Tcp),
        state: Some(FlowState::Closing),
        limit: 7,
    };
    assert_eq!(*server.fake.filter.lock().unwrap(), Some(expected));
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_refused_with_the_key_and_what_would_be_right() {
    let server = start(Fake::default()).await;
    for (query, key, words) in [
        ("sever=pc1", "sever", "did you mean `server`?"),
        ("virtual-server=mail", "virtual-server", "did you mean `virtual_server`?"),
        ("x=1", "x", "there are `client`, `virtual_server`"),
        ("=", "", "there is no query key"),
        ("client=pc1", "client", "an IPv4 or IPv6 address"),
        ("client=10.0.0.0/8", "client", "an IPv4 or IPv6 address"),
        ("client=", "client", "an IPv4 or IPv6 address"),
        ("server=p%20c", "server", "a name: 1 to 32"),
        ("service=%ff", "service", "a name: 1 to 32"),
        ("protocol=TCP", "protocol", "did you mean `tcp`?"),
        ("protocol=6", "protocol", "one of tcp, udp"),
        ("state=establishd", "state", "did you mean `established`?"),
        ("limit=0", "limit", "1 to 10000000"),
        ("limit=10000001", "limit", "1 to 10000000"),
        ("limit=99999999999999999999", "limit", "1 to 10000000"),
        ("limit=-1", "limit", "1 to 10000000"),
        ("format=csv", "format", "one of json, ndjson"),
        ("limit=1&limit=2", "limit", "twice"),
    ] {
        let answer = get(server.address, &format!("{PATH}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        let problem = answer.problem();
        assert_eq!(problem["key"], key, "{query}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{query}: {problem}");
    }
    assert_eq!(*server.fake.filter.lock().unwrap(), None, "nothing was asked of the daemon");
}

#[tokio::test]
async fn a_walk_that_fails_before_the_first_row_is_a_problem_document() {
    for end in [End::Fails, End::Dies] {
        let server = start(Fake { rows: 0, end, ..Fake::default() }).await;
        let answer = get(server.address, PATH).await;
        assert_eq!(answer.status, 500);
        assert!(answer.problem()["detail"].as_str().unwrap().contains("table"));
    }
}

#[tokio::test]
async fn a_walk_that_breaks_off_later_never_looks_complete() {
    for end in [End::Fails, End::Dies] {
        for format in ["json", "ndjson"] {
            let server = start(Fake { rows: 5_000, end, ..Fake::default() }).await;
            let answer = get(server.address, &format!("{PATH}?limit=9000&format={format}")).await;
            assert_eq!((answer.status, answer.complete), (200, false));
        }
    }
}

#[tokio::test]
async fn the_walk_stops_when_the_client_goes_away() {
    let server = start(Fake { rows: 5_000_000, ..Fake::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {PATH}?limit=5000000 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut some = [0; 4096];
    stream.read_exact(&mut some).await.unwrap();
    assert!(!server.fake.walk_over.load(Ordering::SeqCst));
    drop(stream);
    eventually("the walk stops", || server.fake.walk_over.load(Ordering::SeqCst)).await;
    let produced = server.fake.produced.load(Ordering::SeqCst);
    assert!(produced < 1_000_000, "{produced} rows were produced for nobody");
}

#[tokio::test]
async fn a_client_that_takes_nothing_stops_the_walk_and_is_cut_off() {
    let limits = Limits { stall: Duration::from_millis(300), ..Limits::default() };
    let server = start_with(Fake { rows: 5_000_000, ..Fake::default() }, limits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {PATH}?limit=5000000 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    eventually("the walk stops", || server.fake.walk_over.load(Ordering::SeqCst)).await;
    let produced = server.fake.produced.load(Ordering::SeqCst);
    assert!(produced < 200_000, "{produced} rows were produced before the reader was waited for");
}
