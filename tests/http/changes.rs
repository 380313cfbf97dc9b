//! Server-sent events.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lbd::http::LISTENERS_MAX;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Fake, get, start};

/// One event: its id, its kind and its data.
type Event = (String, String, Value);

struct Listener(BufReader<TcpStream>);

impl Listener {
    async fn open(address: SocketAddr, last: Option<&str>) -> Self {
        let last = last.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /api/v1/changes HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut listener = Self(BufReader::new(stream));
        let mut is_events = false;
        loop {
            let line = listener.line().await;
            is_events |= line.eq_ignore_ascii_case("content-type: text/event-stream");
            if line.is_empty() {
                break;
            }
        }
        assert!(is_events);
        listener
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(Duration::from_secs(20), self.0.read_line(&mut line)).await.expect("a line in time").unwrap();
        line.trim_end().to_owned()
    }

    /// The lines of chunks are between them.
    async fn event(&mut self) -> Event {
        let (mut id, mut kind) = (String::new(), String::new());
        loop {
            let line = self.line().await;
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            } else if let Some(text) = line.strip_prefix("event: ") {
                kind = text.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                return (id, kind, serde_json::from_str(text).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn a_listener_is_told_everything_first_and_then_what_changes() {
    let server = start(Fake::default()).await;
    let mut listener = Listener::open(server.address, None).await;
    let (_, kind, state) = listener.event().await;
    assert_eq!((kind.as_str(), &state), ("snapshot", &get(server.address, "/api/v1/state").await.json()));
    server.fake.state.lock().unwrap().uptime_seconds += 5;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.fake.state.lock().unwrap().servers[0].connections = 7;
    let (id, kind, change) = listener.event().await;
    assert_eq!(kind, "state");
    assert_eq!(change.as_object().unwrap().len(), 1, "{change}");
    assert_eq!(change["servers"].as_array().unwrap().len(), 1);
    assert_eq!((&change["servers"][0]["name"], &change["servers"][0]["connections"]), (&json!("pc2"), &json!(7)));
    // Who comes back is told what he has missed, whatever the run of the daemon is called.
    drop(listener);
    server.fake.state.lock().unwrap().orders.clear();
    let mut listener = Listener::open(server.address, Some(&id)).await;
    let (_, kind, change) = listener.event().await;
    assert_eq!((kind.as_str(), change["removed"]["orders"].as_array().unwrap().len()), ("state", 2), "{change}");
    // And everything, if nobody knows any more what that was.
    for old in ["nonsense", "other-1", "-", &format!("{}999", id)] {
        assert_eq!(Listener::open(server.address, Some(old)).await.event().await.1, "snapshot", "{old}");
    }
}

#[tokio::test]
async fn nobody_is_asked_while_nobody_listens_and_one_sampler_is_enough_for_all() {
    let server = start(Fake::default()).await;
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS_MAX {
        let mut listener = Listener::open(server.address, None).await;
        listener.event().await;
        listeners.push(listener);
    }
    let answer = get(server.address, "/api/v1/changes").await;
    assert!(answer.status == 503 && answer.text().contains("as many as may"), "{answer:?}");
    let before = server.fake.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let asked = server.fake.asked.load(Ordering::SeqCst) - before;
    assert!((1..=4).contains(&asked), "once a second, however many listen: {asked}");
    listeners.clear();
    // A connection that is gone is seen at the next event or sign of life.
    let fake = server.fake.clone();
    let change = async || {
        fake.state.lock().unwrap().table.entries += 1;
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    };
    for _ in 0..5 {
        change().await;
    }
    let before = server.fake.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(server.fake.asked.load(Ordering::SeqCst), before);
    assert_eq!(Listener::open(server.address, None).await.event().await.1, "snapshot", "there is room again");
}

#[tokio::test]
async fn at_the_end_of_the_daemon_listeners_are_let_go_at_once() {
    let server = start(Fake::default()).await;
    let mut listener = Listener::open(server.address, None).await;
    listener.event().await;
    let begun = std::time::Instant::now();
    let running = server.stop();
    let mut rest = Vec::new();
    listener.0.read_to_end(&mut rest).await.unwrap();
    running.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}
