//! The balancer's HTTP interface, as an operator's script uses it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use lbd::lab::Host;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub struct Api {
    host: Host,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// Content-Type.
    pub kind: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

impl Api {
    pub fn new(host: Host) -> Self {
        Self { host }
    }

    pub fn request(&self, method: &str, path: &str, body: &str) -> io::Result<Reply> {
        // HTTP/1.0: the answer comes in one piece, and ends with the connection.
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        let text = format!("{head}Content-Length: {length}\r\n\r\n{body}");
        let exchange = move || -> io::Result<String> {
            let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], 8080)))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(text.as_bytes())?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply)?;
            Ok(reply)
        };
        let reply = self.host.enter(exchange).map_err(io::Error::other)??;
        let malformed = || io::Error::other(format!("no HTTP: {reply:?}"));
        let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(malformed)?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(malformed)?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
        };
        Ok(Reply { status, kind: head.lines().find_map(header).unwrap_or_default(), body: body.to_owned() })
    }

    pub fn try_state(&self) -> io::Result<State> {
        let reply = self.request("GET", "/api/v1/state", "")?;
        if reply.status != 200 {
            return Err(io::Error::other(format!("{reply:?}")));
        }
        Ok(State(reply.json()))
    }

    pub fn state(&self) -> State {
        self.try_state().unwrap()
    }

    /// PUT …/admin; the reply, whatever it is.
    pub fn admin(&self, server: &str, state: &str, force: bool) -> Reply {
        let body = json!({ "state": state, "force": force }).to_string();
        self.request("PUT", &format!("/api/v1/servers/{server}/admin"), &body).unwrap()
    }

    /// As above, and it must be done.
    pub fn set(&self, server: &str, state: &str) {
        let reply = self.admin(server, state, false);
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    pub fn reload(&self) -> Reply {
        self.request("POST", "/api/v1/config/reload", "").unwrap()
    }

    /// All rows of the connection table.
    pub fn connections(&self) -> Vec<Value> {
        let reply = self.request("GET", "/api/v1/connections?limit=10000000", "").unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json().as_array().unwrap().clone()
    }

    /// A member's rows in the table that count as active; `service` is `v/echo`. In DSR the client's FIN
    /// is the end, because the server's is not seen.
    pub fn live(&self, service: &str, server: &str, dsr: bool) -> u64 {
        let (virtual_server, name) = service.split_once('/').unwrap();
        let of = |row: &&Value| row["virtual_server"] == virtual_server && row["service"] == name;
        let lives = |row: &&Value| row["server"] == server && row["state"] != "closed";
        let counts = |row: &&Value| !(dsr && row["state"] == "closing");
        self.connections().iter().filter(of).filter(lives).filter(counts).count() as u64
    }
}

/// `GET /api/v1/state`.
#[derive(Clone, Debug)]
pub struct State(pub Value);

impl State {
    pub fn services(&self) -> &[Value] {
        self.0["services"].as_array().unwrap()
    }

    /// `v/echo`, or `v/echo/ipv6`.
    pub fn service(&self, name: &str) -> &Value {
        self.find(name).unwrap_or_else(|| panic!("no service {name} in {:#}", self.0))
    }

    pub fn find(&self, name: &str) -> Option<&Value> {
        let full = if name.ends_with("/ipv6") { name.to_owned() } else { format!("{name}/ipv4") };
        let text = |s: &Value, key: &str| s[key].as_str().unwrap_or_default().to_owned();
        let of = |s: &Value| format!("{}/{}/{}", text(s, "virtual_server"), text(s, "service"), text(s, "family"));
        self.services().iter().find(|s| of(s) == full)
    }

    pub fn member(&self, service: &str, server: &str) -> &Value {
        let members = self.service(service)["members"].as_array().unwrap();
        let found = members.iter().find(|m| m["server"] == server);
        found.unwrap_or_else(|| panic!("no {server} in {service}: {members:#?}"))
    }

    fn count(value: &Value, what: &str) -> u64 {
        value["connections"][what].as_u64().unwrap()
    }

    pub fn active(&self, service: &str, server: &str) -> u64 {
        Self::count(self.member(service, server), "active")
    }

    pub fn total(&self, service: &str, server: &str) -> u64 {
        Self::count(self.member(service, server), "total")
    }

    pub fn scheduled(&self, service: &str, server: &str) -> bool {
        self.member(service, server)["scheduled"] == true
    }

    pub fn health(&self, service: &str, server: &str) -> &str {
        self.member(service, server)["state"].as_str().unwrap()
    }

    /// Of a whole service: `active`, `pending` or `total`.
    pub fn of_service(&self, service: &str, what: &str) -> u64 {
        Self::count(self.service(service), what)
    }

    /// Active connections of a server over all its services.
    pub fn of_server(&self, name: &str) -> u64 {
        let server = self.0["servers"].as_array().unwrap().iter().find(|s| s["name"] == name);
        server.unwrap_or_else(|| panic!("no server {name}"))["connections"].as_u64().unwrap()
    }

    /// Packets counted by a reason.
    pub fn packets(&self, reason: &str) -> u64 {
        let row = self.0["packets"].as_array().unwrap().iter().find(|row| row["reason"] == reason);
        row.unwrap_or_else(|| panic!("no reason {reason}"))["count"].as_u64().unwrap()
    }

    pub fn warnings(&self) -> String {
        let lines = self.0["warnings"].as_array().unwrap().iter();
        lines.map(|w| w.as_str().unwrap().to_owned() + "\n").collect()
    }

    pub fn table(&self, what: &str) -> u64 {
        self.0["table"][what].as_u64().unwrap()
    }

    pub fn revision(&self) -> u64 {
        self.0["config"]["revision"].as_u64().unwrap()
    }

    /// Every member of every service gets new connections.
    pub fn all_scheduled(&self) -> bool {
        let mut members = self.services().iter().flat_map(|s| s["members"].as_array().unwrap());
        members.all(|m| m["scheduled"] == true || m["backup"] == true && m["state"] == "up")
    }
}
