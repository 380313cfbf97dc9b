//! Configuration files, put together from the parts that a test is about.

use std::collections::BTreeMap;

use lbd::lab::mail::{self, BALANCER_MAC, SOURCE_NAT};

/// Calm enough that a busy machine takes no living server for dead.
pub const INTERVAL_MS: u64 = 500;
pub const TIMEOUT_MS: u64 = 500;
pub const FALL: u64 = 3;

/// A file in the making. Values are what stands between the braces of a YAML map.
#[derive(Clone, Debug)]
pub struct Conf {
    ports: Vec<String>,
    pub head: String,
    pub servers: BTreeMap<String, String>,
    pub pools: BTreeMap<String, String>,
    pub virtual_servers: BTreeMap<String, VirtualServer>,
}

#[derive(Clone, Debug, Default)]
pub struct VirtualServer {
    pub addresses: Vec<String>,
    pub services: BTreeMap<String, String>,
}

impl Conf {
    /// pc1 to pc`pcs` as servers, and nothing that uses them.
    pub fn new(pcs: u8) -> Self {
        let mut conf = Self {
            ports: ["up0".to_owned()].into_iter().chain((1..=pcs).map(|n| format!("p{n}"))).collect(),
            head: String::new(),
            servers: BTreeMap::new(),
            pools: BTreeMap::new(),
            virtual_servers: BTreeMap::new(),
        };
        for n in 1..=pcs {
            conf = conf.server(n, "");
        }
        conf
    }

    /// Lines at the top level, such as `limits: {connections: 1024}`.
    pub fn head(mut self, line: &str) -> Self {
        self.head += line;
        self.head += "\n";
        self
    }

    /// Server pc`n` with further keys.
    pub fn server(mut self, n: u8, more: &str) -> Self {
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        let text = format!("address: {}, address6: \"{}\"{more}", mail::pc_address(n), mail::pc_address6(n));
        self.servers.insert(format!("pc{n}"), text);
        self
    }

    /// A pool; it starts at once and is checked calmly where its text says nothing else.
    pub fn pool(mut self, name: &str, text: &str) -> Self {
        let mut text = text.to_owned();
        if !text.contains("slow-start") {
            text += ", slow-start: 0s";
        }
        if !text.contains("check:") {
            text += &format!(
                ", check: {{type: tcp, port: 7, interval: {INTERVAL_MS}ms, timeout: {TIMEOUT_MS}ms, rise: 1, fall: {FALL}}}"
            );
        }
        self.pools.insert(name.into(), text);
        self
    }

    pub fn virtual_server(mut self, name: &str, addresses: &[&str]) -> Self {
        self.virtual_servers.entry(name.into()).or_default().addresses =
            addresses.iter().map(|a| (*a).to_owned()).collect();
        self
    }

    pub fn service(mut self, virtual_server: &str, name: &str, text: &str) -> Self {
        self.virtual_servers.entry(virtual_server.into()).or_default().services.insert(name.into(), text.into());
        self
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "hostname: lb1\ninterfaces:\n  bridge: br0\n  ports: [{}]\n  mac: \"{BALANCER_MAC}\"\n  \
             inside: [10.1.0.1/24, \"fd00:1::1/64\"]\nsource-nat: [{{address: {}}}, {{address: \"{}\"}}]\n{}",
            self.ports.join(", "),
            SOURCE_NAT[0],
            SOURCE_NAT[1],
            self.head
        );
        for (key, map) in [("servers", &self.servers), ("pools", &self.pools)] {
            text += &format!("{key}:\n");
            for (name, value) in map {
                text += &format!("  {name}: {{{value}}}\n");
            }
        }
        text += "virtual-servers:\n";
        for (name, virtual_server) in &self.virtual_servers {
            let addresses: Vec<String> = virtual_server.addresses.iter().map(|a| format!("\"{a}\"")).collect();
            text += &format!("  {name}:\n    addresses: [{}]\n    services:\n", addresses.join(", "));
            for (name, value) in &virtual_server.services {
                text += &format!("      {name}: {{{value}}}\n");
            }
        }
        text
    }
}

/// One pool `echo` of all PCs behind 192.0.2.25:7, in turn.
pub fn echo(pcs: u8, mode: &str) -> Conf {
    let members: Vec<String> = (1..=pcs).map(|n| format!("pc{n}")).collect();
    Conf::new(pcs)
        .pool("echo", &format!("members: [{}], scheduler: round-robin", members.join(", ")))
        .virtual_server("v", &["192.0.2.25", "2001:db8::25"])
        .service("v", "echo", &format!("port: 7, pool: echo, mode: {mode}"))
}
