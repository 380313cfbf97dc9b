//! The description of the interface, held against what is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lbd::config::Http;
use lbd::http::{Limits, description};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{Answer, parse};
use crate::support::{Fake, ask, get, start, start_at};

const DOCUMENTATION: &str = include_str!("../../docs/http.md");
const METHODS: [&str; 7] = ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"];

fn operations() -> BTreeMap<String, BTreeMap<String, Value>> {
    let document = description();
    let paths = document["paths"].as_object().unwrap().clone();
    let upper = |path: &Value| path.as_object().unwrap().iter().map(|(m, o)| (m.to_uppercase(), o.clone())).collect();
    paths.iter().map(|(path, operations)| (path.clone(), upper(operations))).collect()
}

fn example(path: &str) -> String {
    path.replace("{server}", "pc2")
        .replace("{pool}", "mx")
        .replace("{number}", "99")
        .replace("{token}", "t")
        .replace("{which}", "9")
}

type Asked = BoxFuture<'static, Answer>;

fn whole(address: SocketAddr, method: &'static str, path: String) -> Asked {
    async move { ask(address, method, &path, None).await }.boxed()
}

fn begin(address: SocketAddr, method: &'static str, path: String) -> Asked {
    async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        head.extend_from_slice(b"0\r\n\r\n");
        parse(&head).unwrap()
    }
    .boxed()
}

#[tokio::test]
async fn each_described_operation_is_answered_and_no_other_one_is() {
    let server = start(Fake::default()).await;
    let operations = operations();
    assert!(operations.len() > 15, "{operations:?}");
    for (path, described) in &operations {
        for method in METHODS {
            // Events have no end: what comes before them is enough.
            let ask = if (method, path.as_str()) == ("GET", "/api/v1/changes") { begin } else { whole };
            let answer = ask(server.address, method, example(path)).await;
            let is_refused = answer.status == 405;
            assert_eq!(!described.contains_key(method), is_refused, "{method} {path}: {answer:?}");
            assert!(!answer.text().contains("there is nothing at"), "{method} {path}: {answer:?}");
            if is_refused {
                let allowed: BTreeSet<&str> = answer.headers["allow"].split(',').filter(|m| *m != "HEAD").collect();
                assert_eq!(allowed, described.keys().map(String::as_str).collect(), "{path}");
                continue;
            }
            let responses = described[method]["responses"].as_object().unwrap();
            let is_described = responses.contains_key(&answer.status.to_string());
            assert!(is_described, "{method} {path} answers {}: {answer:?}", answer.status);
        }
    }
}

#[tokio::test]
async fn nobody_is_answered_by_an_operation_that_wants_a_level() {
    let http = Http { require_token: true, listen: vec!["127.0.0.1:0".parse().unwrap()], ..Http::default() };
    let server = start_at(Fake::default(), Limits::default(), http).await;
    let mut refused = 0;
    for (path, described) in operations() {
        for (method, operation) in described {
            let method = METHODS.into_iter().find(|known| *known == method).unwrap();
            let is_open = operation["x-level"].is_null();
            let answer = whole(server.address, method, example(&path)).await;
            assert_eq!(answer.status != 401, is_open, "{method} {path}: {answer:?}");
            refused += u32::from(!is_open);
        }
    }
    assert!(refused > 25, "{refused}");
    assert_eq!(server.fake.done.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_description_is_complete_and_its_references_lead_somewhere() {
    let server = start(Fake::default()).await;
    let document = get(server.address, "/api/v1/openapi.json").await.json();
    assert_eq!(document, description());
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, operations) in operations() {
        let last = path.rsplit('/').next().unwrap();
        let of_parts = ["enable", "drain", "disable", "hold", "confirm", "revert", "replace"].contains(&last);
        assert!(of_parts || DOCUMENTATION.contains(&path), "docs/http.md does not tell of {path}");
        for (method, operation) in operations {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
            let is_open = operation["security"].as_array().unwrap().is_empty();
            assert_eq!(is_open, operation["x-level"].is_null(), "{method} {path}");
            for name in path.split('/').filter_map(|step| step.strip_prefix('{')?.strip_suffix('}')) {
                let is_it = |one: &Value| one["name"] == name && one["in"] == "path" && one["required"] == true;
                assert!(operation["parameters"].as_array().unwrap().iter().any(is_it), "{method} {path}: {name}");
            }
        }
    }
    fn references(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| match value.as_str().filter(|_| key == "$ref") {
                Some(text) => out.push(text.to_owned()),
                None => references(value, out),
            }),
            Value::Array(list) => list.iter().for_each(|value| references(value, out)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}
