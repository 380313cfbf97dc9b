//! A small client of the balancer's HTTP API: the one place of the lab that knows its shape.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::host::Host;

/// Of a whole request: a machine that also compiles is not to fail a test by it.
const PATIENCE: Duration = Duration::from_secs(10);
const BODY_MAX: u64 = 16 * 1024 * 1024;

/// The API of the balancer on `host`.
#[derive(Clone, Debug)]
pub struct Api {
    host: Host,
    address: SocketAddr,
}

/// A service's member as the balancer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `mx/smtp ipv4`.
    pub service: String,
    pub server: String,
    pub pool: String,
    /// Its probe is answered.
    pub up: bool,
    /// It gets new connections.
    pub scheduled: bool,
    /// Why it does or does not, in words.
    pub why: String,
    /// What the probe that speaks against it has found last, in words; empty if none does.
    pub found: String,
    /// Established ones.
    pub connections: u64,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.service, self.server)?;
        if self.why.is_empty() { Ok(()) } else { write!(f, " ({})", self.why) }
    }
}

impl Api {
    pub fn new(host: Host) -> Self {
        Self { host, address: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }

    /// The whole state.
    pub async fn state(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.request("GET", "/api/v1/state", "").await?)?)
    }

    /// The other box of the pair shall own.
    pub async fn hand_over(&self) -> anyhow::Result<()> {
        self.request("POST", "/api/v1/pair/handover", "").await?;
        Ok(())
    }

    /// Takes a server out of the configuration; what it still has of connections is ended.
    pub async fn remove(&self, server: &str) -> anyhow::Result<()> {
        self.request("DELETE", &format!("/api/v1/servers/{server}?force=true"), "").await?;
        Ok(())
    }

    /// Of two configurations that were changed apart from each other one counts: `own`, that of this box, or `peer`.
    pub async fn choose_config(&self, take: &str) -> anyhow::Result<()> {
        let body = serde_json::json!({ "take": take }).to_string();
        self.request("POST", "/api/v1/pair/config", &body).await?;
        Ok(())
    }

    /// Every member of every service.
    pub async fn members(&self) -> anyhow::Result<Vec<Member>> {
        let state = self.state().await?;
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let services = state.get("services").and_then(Value::as_array).context("the state lists no services")?;
        let mut members = Vec::new();
        for service in services {
            let [vs, name, family] = ["virtual_server", "service", "family"].map(|key| text(service, key));
            for member in service.get("members").and_then(Value::as_array).into_iter().flatten() {
                members.push(Member {
                    service: format!("{vs}/{name} {family}"),
                    server: text(member, "server"),
                    pool: text(member, "pool"),
                    up: text(member, "state") == "up",
                    scheduled: member.get("scheduled").and_then(Value::as_bool).unwrap_or(false),
                    why: text(member, "why"),
                    found: found(member),
                    connections: member.pointer("/connections/active").and_then(Value::as_u64).unwrap_or(0),
                });
            }
        }
        Ok(members)
    }

    /// Drains a server; what is left at the deadline is reset, and `then` it may be removed.
    pub async fn drain(&self, server: &str, deadline: &str, then: &str) -> anyhow::Result<()> {
        let body = serde_json::json!({ "deadline": deadline, "then": then }).to_string();
        self.request("POST", &format!("/api/v1/servers/{server}/drain"), &body).await?;
        Ok(())
    }

    /// Has the configuration file loaded.
    pub async fn reload(&self) -> anyhow::Result<()> {
        self.request("POST", "/api/v1/config/reload", "").await?;
        Ok(())
    }

    /// Connections of a service that are open, with the server of each: by client, and by what it has connected to.
    pub async fn connections(&self, service: &str) -> anyhow::Result<BTreeMap<(SocketAddr, SocketAddr), String>> {
        let path = format!("/api/v1/connections?service={service}&protocol=tcp&limit=1000000&format=ndjson");
        let rows = self.request("GET", &path, "").await?;
        let mut found = BTreeMap::new();
        for row in rows.lines() {
            let row: Value = serde_json::from_str(row)?;
            let text = |key: &str| row.get(key).and_then(Value::as_str).context("a connection without its ends");
            let end = |address: &str, port: &str| -> anyhow::Result<SocketAddr> {
                let port = row.get(port).and_then(Value::as_u64).context("a connection without its ports")?;
                Ok(SocketAddr::new(text(address)?.parse()?, u16::try_from(port)?))
            };
            if matches!(text("state")?, "unproven" | "established") {
                found.insert((end("client", "client_port")?, end("address", "port")?), text("server")?.to_owned());
            }
        }
        Ok(found)
    }

    /// The body of a successful answer.
    async fn request(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        // HTTP/1.0: the answer comes in one piece, and ends with the connection.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let address = self.address;
        let result = self.host.run(move || tokio::time::timeout(PATIENCE, exchange(address, request))).await?;
        let reply = result.with_context(|| format!("{method} {path}: no answer"))??;
        let reply = String::from_utf8_lossy(&reply);
        let (head, body) = reply.split_once("\r\n\r\n").with_context(|| format!("{method} {path}: {reply:?}"))?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            bail!("{method} {path} was answered by {status}: {body}");
        }
        Ok(body.to_owned())
    }
}

/// The latest result of the first probe which is down.
fn found(member: &Value) -> String {
    let checks = member.get("checks").and_then(Value::as_array).into_iter().flatten();
    let down = |check: &&Value| check.get("state").and_then(Value::as_str) == Some("down");
    let last = checks.into_iter().find(down).and_then(|check| check.get("last")?.as_str());
    last.unwrap_or_default().to_owned()
}

async fn exchange(address: SocketAddr, request: String) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    if stream.take(BODY_MAX).read_to_end(&mut reply).await? as u64 == BODY_MAX {
        return Err(std::io::Error::other(format!("an answer of {BODY_MAX} bytes or more")));
    }
    Ok(reply)
}
