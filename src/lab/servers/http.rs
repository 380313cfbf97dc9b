//! HTTP/1.1 (RFC 9112), as much as a browser, curl and a test of large transfers need:
//! a page that names the host, `GET /bytes/N`, and the MD5 of whatever is sent by POST or PUT.

use std::io;
use std::net::IpAddr;

use tokio::net::TcpStream;

use super::lines::Lines;
use super::md5::Md5;

const HEADERS_MAX: usize = 100;
/// Of a transfer in either direction.
const BYTES_MAX: u64 = 1 << 32;
const CHUNK: usize = 16 * 1024;

/// The bytes of `/bytes/N`: no two neighbouring packets are alike, and every position is known.
pub fn byte_at(position: u64) -> u8 {
    (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// The MD5 of the first `count` bytes of [`byte_at`].
pub fn bytes_digest(count: u64) -> String {
    let mut digest = Md5::new();
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut at = 0;
    while at < count {
        fill(&mut chunk, at, count);
        digest.update(&chunk);
        at += chunk.len() as u64;
    }
    digest.hex()
}

fn fill(chunk: &mut Vec<u8>, at: u64, end: u64) {
    chunk.clear();
    chunk.extend((at..end.min(at + CHUNK as u64)).map(byte_at));
}

pub async fn converse(stream: TcpStream, name: &str, customer: IpAddr) -> io::Result<()> {
    let mut client = Lines::new(stream);
    while let Some(request) = client.read().await? {
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut close = words.next() != Some("HTTP/1.1");
        let mut length = 0_u64;
        let mut headers = 0;
        loop {
            let Some(line) = client.read().await? else { return Ok(()) };
            if line.is_empty() {
                break;
            }
            headers += 1;
            if headers > HEADERS_MAX {
                return respond(&mut client, name, "431 Request Header Fields Too Large", "", true).await;
            }
            let (key, value) = line.split_once(':').unwrap_or((line.as_str(), ""));
            match (key.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", value) => match value.parse() {
                    Ok(n) if n <= BYTES_MAX => length = n,
                    _ => return respond(&mut client, name, "413 Content Too Large", "", true).await,
                },
                ("connection", value) => close |= value.eq_ignore_ascii_case("close"),
                ("expect", _) => client.write("HTTP/1.1 100 Continue\r\n").await?,
                ("transfer-encoding", _) => {
                    return respond(&mut client, name, "411 Length Required", "", true).await;
                }
                _ => {}
            }
        }
        let Some(digest) = take(&mut client, length).await? else { return Ok(()) };
        match (method, path.strip_prefix("/bytes/").map(str::parse::<u64>)) {
            ("GET", Some(Ok(count))) if count <= BYTES_MAX => send(&mut client, name, count).await?,
            ("GET" | "HEAD", Some(_)) => respond(&mut client, name, "400 Bad Request", "too many\n", close).await?,
            ("HEAD", None) => respond(&mut client, name, "200 OK", "", close).await?,
            ("GET", None) => {
                let page = format!("<!doctype html><title>{name}</title><h1>Served by {name}, to {customer}</h1>\n");
                respond(&mut client, name, "200 OK", &page, close).await?;
            }
            ("POST" | "PUT", _) => respond(&mut client, name, "200 OK", &format!("{digest}\n"), close).await?,
            _ => respond(&mut client, name, "405 Method Not Allowed", "", true).await?,
        }
        if close {
            return Ok(());
        }
    }
    Ok(())
}

fn head(name: &str, status: &str, kind: &str, length: u64, close: bool) -> String {
    let close = if close { "Connection: close\r\n" } else { "" };
    format!("HTTP/1.1 {status}\r\nServer: {name}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{close}\r\n")
}

async fn respond(client: &mut Lines, name: &str, status: &str, body: &str, close: bool) -> io::Result<()> {
    let head = head(name, status, "text/html; charset=utf-8", body.len() as u64, close);
    client.write_bytes(format!("{head}{body}").as_bytes()).await
}

async fn send(client: &mut Lines, name: &str, count: u64) -> io::Result<()> {
    client.write_bytes(head(name, "200 OK", "application/octet-stream", count, false).as_bytes()).await?;
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut at = 0;
    while at < count {
        fill(&mut chunk, at, count);
        client.write_bytes(&chunk).await?;
        at += chunk.len() as u64;
    }
    Ok(())
}

/// Reads a body; its MD5, or `None` if the client went away.
async fn take(client: &mut Lines, length: u64) -> io::Result<Option<String>> {
    let mut digest = Md5::new();
    let mut buffer = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let Some(room) = buffer.get_mut(..room) else { return Ok(None) };
        let count = client.read_bytes(room).await?;
        if count == 0 {
            return Ok(None);
        }
        digest.update(buffer.get(..count).unwrap_or_default());
        left -= count as u64;
    }
    Ok(Some(digest.hex()))
}
