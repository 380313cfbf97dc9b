//! A million rows through the listener: in a process of its own, so that its memory is its own.
// Not everything that the other tests need is needed here.
#[allow(dead_code, unused_imports)]
#[path = "http_support/mod.rs"]
mod support;

use std::sync::atomic::Ordering;

use support::{Fake, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ROWS: u32 = 1_000_000;
/// Both ends of the connection live in this process.
const GROWTH_BYTES_MAX: u64 = 20 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_rows_are_streamed_in_little_memory() {
    let server = start(Fake { rows: ROWS, ..Fake::default() }).await;
    // What is allocated once and kept is not growth.
    read_rows(&server, 10_000).await;
    let before = resident("VmRSS:");
    let (rows, bytes) = read_rows(&server, ROWS).await;
    assert_eq!(rows, ROWS as usize);
    assert!(bytes > 200 * 1024 * 1024, "{bytes} bytes are not much of a test");
    assert_eq!(server.fake.produced.load(Ordering::SeqCst), ROWS + 10_000);
    let growth = resident("VmHWM:").saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{} KiB more than before, for {bytes} bytes", growth / 1024);
}

/// Reads an answer to its end without keeping it; rows and bytes.
async fn read_rows(server: &support::Server, limit: u32) -> (usize, usize) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "GET /api/v1/connections?format=ndjson&limit={limit} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let (mut rows, mut bytes, mut tail) = (0, 0, Vec::new());
    loop {
        let length = stream.read(&mut buffer).await.unwrap();
        if length == 0 {
            break;
        }
        bytes += length;
        rows += buffer[..length].iter().filter(|byte| **byte == b'}').count();
        tail.extend_from_slice(&buffer[..length]);
        tail.drain(..tail.len().saturating_sub(5));
    }
    assert_eq!(tail, b"0\r\n\r\n", "the answer came to its end");
    (rows, bytes)
}

/// A line of /proc/self/status, in bytes.
fn resident(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
