//! The mail cluster of the documentation: client, router, balancer, four PCs.
//!
//! The router has an address in the servers' segment too. A server routes by the source of its
//! answer: from a virtual IP (DSR) straight to the router, from its own address (NAT) to the
//! balancer's inside address. So one PC serves every mode at once.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use super::balancer::Balancer;
use super::error::LabError;
use super::operator::Operator;
use super::process::{Process, ending};
use super::servers::{Kind, Responder};
use super::site::{Plan, Site};

pub const CLIENT: &str = "client";
pub const ROUTER: &str = "router";
pub const BALANCER: &str = "lb1";
/// The balancer's own address.
pub const BALANCER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The balancer's one MAC, that of its bridge.
pub const BALANCER_MAC: &str = "02:00:00:00:01:01";
/// Further addresses of the client, so that one machine plays many customers.
pub const CUSTOMERS: u8 = 200;
/// A server that is killed is out after this times three, and a timeout.
pub const CHECK_INTERVAL: Duration = Duration::from_millis(500);
pub const CHECK_TIMEOUT: Duration = Duration::from_millis(300);
pub const CHECK_FALL: u32 = 3;
/// Where full NAT comes from, as the servers see it.
pub const SOURCE_NAT: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 1, 0, 9)), IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 9))];
/// A server has this long to open its ports.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// A virtual server's service as the lab has it.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub virtual_server: &'static str,
    /// Last byte of 192.0.2.x, and last group of 2001:db8::x in decimal digits.
    pub vip: u8,
    pub kind: Kind,
    pub udp: bool,
    pub port: u16,
    pub mode: &'static str,
}

const fn offer(virtual_server: &'static str, vip: u8, kind: Kind, udp: bool, port: u16, mode: &'static str) -> Offer {
    Offer { virtual_server, vip, kind, udp, port, mode }
}

/// Every service: mail comes in by DSR, mailboxes are read by NAT, webmail is full NAT.
pub const OFFERS: [Offer; 8] = [
    offer("mx", 25, Kind::Smtp, false, 25, "dsr"),
    offer("mailbox", 110, Kind::Pop3, false, 110, "nat"),
    offer("mailbox", 110, Kind::Imap, false, 143, "nat"),
    offer("webmail", 80, Kind::Http, false, 80, "full-nat"),
    offer("webmail", 80, Kind::Http, false, 8080, "dsr"),
    offer("infra", 53, Kind::Dns, true, 53, "nat"),
    offer("infra", 53, Kind::Dns, false, 53, "nat"),
    offer("infra", 53, Kind::Radius, true, 1812, "dsr"),
];

/// For connections that stay and talk: what comes back is checked. Offered where there are two balancers.
pub const ECHOES: [Offer; 2] =
    [offer("mx", 25, Kind::Echo, false, 7, "dsr"), offer("mailbox", 110, Kind::Echo, false, 7, "nat")];

impl Offer {
    /// As the configuration calls it.
    pub fn service(&self) -> String {
        match (self.kind, self.udp) {
            // It is offered in two modes, by different machines.
            (Kind::Echo, false) => format!("echo-{}", self.mode),
            (Kind::Dns, false) => "dns-tcp".into(),
            (kind, _) if self.port == kind.default_port() => kind.to_string(),
            (kind, _) => format!("{kind}-{}", self.port),
        }
    }

    pub fn address4(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(192, 0, 2, self.vip), self.port))
    }

    pub fn address6(&self) -> SocketAddr {
        SocketAddr::from((vip6(self.vip), self.port))
    }

    /// The servers that it may be answered by.
    pub fn servers(&self) -> [&'static str; 2] {
        let mail_exchanger = matches!(self.kind, Kind::Smtp | Kind::Dns | Kind::Radius);
        let echo_by_dsr = self.kind == Kind::Echo && self.mode == "dsr";
        if mail_exchanger || echo_by_dsr { ["pc1", "pc3"] } else { ["pc2", "pc4"] }
    }
}

/// 2001:db8::25 for 25: the digits are read as they stand.
pub fn vip6(number: u8) -> Ipv6Addr {
    let digits = number.to_string().chars().fold(0_u16, |sum, c| sum << 4 | c.to_digit(16).unwrap_or(0) as u16);
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, digits)
}

fn vips() -> BTreeMap<u8, &'static str> {
    OFFERS.iter().map(|offer| (offer.vip, offer.virtual_server)).collect()
}

/// The client's further addresses: 203.0.113.50 and on, or 2001:db8:c::1:1 and on.
pub fn customers(v6: bool) -> Vec<IpAddr> {
    let address = |n: u8| -> IpAddr {
        if v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 1, u16::from(n) + 1).into()
        } else {
            Ipv4Addr::new(203, 0, 113, 50 + n).into()
        }
    };
    (0..CUSTOMERS).map(address).collect()
}

/// The site with so many PCs, pc1 to pc`pcs` at ports p1 and on (at most 200).
pub fn plan(pcs: u8) -> Plan {
    let mut plan = Plan::new();
    plan.router(ROUTER).router(BALANCER);
    client(&mut plan);
    plan.cable("router:lan", "lb1:up0");
    router_inside(&mut plan);

    let mut ports = vec!["up0".to_owned()];
    for n in 1..=pcs {
        plan.cable(&format!("pc{n}:eth0"), &format!("lb1:p{n}"));
        ports.push(format!("p{n}"));
    }
    plan.bridge("lb1:br0", BALANCER_MAC, &ports.iter().map(String::as_str).collect::<Vec<_>>());
    plan.address("lb1:br0", "192.0.2.2/24").address("lb1:br0", "2001:db8::2/64");
    plan.address("lb1:br0", "10.1.0.2/24").address("lb1:br0", "fd00:1::2/64");
    plan.ip(BALANCER, "route add default via 192.0.2.1").ip(BALANCER, "-6 route add default via 2001:db8::1");
    for n in 1..=pcs {
        pc(&mut plan, &format!("pc{n}"), n);
    }
    plan
}

/// The customer, with all of his addresses, behind `router:cust`.
pub(super) fn client(plan: &mut Plan) {
    plan.cable("client:eth0", "router:cust");
    plan.address("client:eth0", "203.0.113.10/24").address("client:eth0", "2001:db8:c::10/64");
    plan.ip(CLIENT, "route add default via 203.0.113.1").ip(CLIENT, "-6 route add default via 2001:db8:c::1");
    for (four, six) in customers(false).into_iter().zip(customers(true)) {
        plan.ip(CLIENT, &format!("addr add {four}/32 dev eth0"));
        // Deprecated: never the kernel's own choice, so that a customer who does not say has one address.
        plan.ip(CLIENT, &format!("addr add {six}/128 dev eth0 nodad preferred_lft 0"));
    }
    plan.address("router:cust", "203.0.113.1/24").address("router:cust", "2001:db8:c::1/64");
}

/// The router's addresses towards the site.
pub(super) fn router_inside(plan: &mut Plan) {
    plan.address("router:lan", "192.0.2.1/24").address("router:lan", "2001:db8::1/64");
    plan.address("router:lan", "10.1.0.254/24").address("router:lan", "fd00:1::254/64");
}

pub(super) fn pc(plan: &mut Plan, name: &str, n: u8) {
    // A virtual IP on the loopback must not be answered for by ARP, nor be an ARP question's source.
    plan.sysctl(name, "net.ipv4.conf.all.arp_ignore", "1").sysctl(name, "net.ipv4.conf.all.arp_announce", "2");
    let eth0 = format!("{name}:eth0");
    plan.address(&eth0, &format!("{}/24", pc_address(n))).address(&eth0, &format!("{}/64", pc_address6(n)));
    for vip in vips().into_keys() {
        plan.ip(name, &format!("addr add 192.0.2.{vip}/32 dev lo"));
        plan.ip(name, &format!("addr add {}/128 dev lo nodad", vip6(vip)));
    }
    plan.ip(name, "route add default via 10.1.0.1").ip(name, "-6 route add default via fd00:1::1");
    // Answers from a virtual IP: what is on the wire goes there, the rest to the router.
    plan.ip(name, "route add 10.1.0.0/24 dev eth0 table 100").ip(name, "route add 192.0.2.0/24 dev eth0 table 100");
    plan.ip(name, "route add default via 10.1.0.254 table 100").ip(name, "rule add from 192.0.2.0/24 lookup 100");
    plan.ip(name, "-6 route add fd00:1::/64 dev eth0 table 100");
    plan.ip(name, "-6 route add 2001:db8::/64 dev eth0 table 100");
    plan.ip(name, "-6 route add default via fd00:1::254 table 100");
    plan.ip(name, "-6 rule add from 2001:db8::/64 lookup 100");
}

/// 10.1.0.11 for pc1.
pub fn pc_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, n.saturating_add(10))
}

/// fd00:1::11 for pc1: the same digits as in IPv4.
pub fn pc_address6(n: u8) -> Ipv6Addr {
    let digits = vip6(n.saturating_add(10)).segments()[7];
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, digits)
}

/// The balancer's configuration file.
pub fn config() -> String {
    config_with(4)
}

/// The same with so many ports towards PCs; only the first four are servers.
fn config_with(pcs: u8) -> String {
    let ports: String = (1..=pcs).map(|n| format!(", p{n}")).collect();
    let interfaces = format!(
        "interfaces:
  bridge: br0
  ports: [up0{ports}]
  mac: \"{BALANCER_MAC}\"
  inside: [10.1.0.1/24, \"fd00:1::1/64\"]
"
    );
    config_of(BALANCER, &interfaces, &OFFERS)
}

/// The configuration of a balancer of this site that has these interfaces, and offers this.
pub(super) fn config_of(hostname: &str, interfaces: &str, offers: &[Offer]) -> String {
    let [check_ms, timeout_ms] = [CHECK_INTERVAL, CHECK_TIMEOUT].map(|d| d.as_millis());
    let mut text = format!(
        "# The lab's balancer: lbd check --config with this file says whether it is right.
hostname: {hostname}
{interfaces}source-nat:
  - address: {}
  - address: \"{}\"
servers:
",
        SOURCE_NAT[0], SOURCE_NAT[1]
    );
    for n in 1..=4 {
        text += &format!("  pc{n}: {{address: {}, address6: \"{}\"}}\n", pc_address(n), pc_address6(n));
    }
    text += "pools:\n";
    // The tour breaks one server three times in a row: one that flaps is held down, here for a few seconds only.
    let timing = format!("interval: {check_ms}ms, timeout: {timeout_ms}ms, rise: 2, fall: {CHECK_FALL}, flap-hold: 2s");
    for offer in offers {
        // Each is asked in its own language, but for the echo, which has none. RADIUS is as well as the DNS server of its PC: a probe with the
        // shared secret wants a file that holds it, which the real lab has.
        let check = match offer.kind {
            Kind::Radius => "type: tcp, port: 53, ".to_owned(),
            Kind::Echo => "type: tcp, ".to_owned(),
            kind => format!("type: {kind}, "),
        };
        text += &format!("  {}:\n    members: [{}]\n", offer.service(), offer.servers().join(", "));
        text += &format!("    slow-start: 0s\n    check: {{{check}{timing}}}\n");
    }
    text += "virtual-servers:\n";
    for (vip, name) in vips() {
        text += &format!("  {name}:\n    addresses: [192.0.2.{vip}, \"{}\"]\n    services:\n", vip6(vip));
        for offer in offers.iter().filter(|offer| offer.vip == vip) {
            let (service, protocol) = (offer.service(), if offer.udp { "udp" } else { "tcp" });
            let Offer { port, mode, .. } = *offer;
            text +=
                &format!("      {service}: {{protocol: {protocol}, port: {port}, pool: {service}, mode: {mode}}}\n");
        }
    }
    text
}

/// The site with its servers running.
#[derive(Debug)]
pub struct MailSite {
    servers: BTreeMap<String, Process>,
    balancer: Option<Balancer>,
    program: PathBuf,
    pcs: u8,
    pub operator: Operator,
    // Last: it removes what the processes above stand on.
    pub site: Site,
}

impl MailSite {
    /// Builds the site and starts a server on each PC. `program` is `lbd` itself.
    pub fn start(program: &Path) -> Result<Self, LabError> {
        Self::start_with(program, 4)
    }

    /// The same with so many PCs. Those after the fourth are none of the balancer's servers yet.
    pub fn start_with(program: &Path, pcs: u8) -> Result<Self, LabError> {
        let site = Site::build(&plan(pcs))?;
        let operator = Operator::new(&site, CLIENT, &[(BALANCER, BALANCER_ADDRESS)])?;
        let mut this = Self { servers: BTreeMap::new(), balancer: None, program: program.into(), pcs, operator, site };
        for n in 1..=pcs {
            this.start_server(&format!("pc{n}"))?;
        }
        Ok(this)
    }

    /// Starts (again) what a PC serves.
    pub fn start_server(&mut self, pc: &str) -> Result<(), LabError> {
        self.start_server_that(pc, &[])
    }

    /// With further arguments for its program.
    pub fn start_server_that(&mut self, pc: &str, arguments: &[&str]) -> Result<(), LabError> {
        let process = start_server_that(&self.site, pc, &self.program, &served_by(pc), arguments)?;
        self.servers.insert(pc.into(), process);
        Ok(())
    }

    /// A PC's servers, to be killed, stopped (SIGSTOP) or continued.
    pub fn server(&mut self, pc: &str) -> Result<&mut Process, LabError> {
        self.servers.get_mut(pc).ok_or_else(|| LabError::NoHost(pc.into()))
    }

    pub fn config_file(&self) -> PathBuf {
        self.site.dir().join("lb1.yaml")
    }

    /// The configuration that it begins with.
    pub fn config(&self) -> String {
        config_with(self.pcs) + &self.operator.section()
    }

    pub fn write_config(&self) -> Result<(), LabError> {
        let path = self.config_file();
        std::fs::write(&path, self.config()).map_err(LabError::file("write", path))
    }

    /// Starts `lbd run` on lb1.
    pub fn start_balancer(&mut self) -> Result<&mut Balancer, LabError> {
        self.write_config()?;
        let balancer = Balancer::start(&self.site, BALANCER, &self.program, &self.config_file())?;
        Ok(self.balancer.insert(balancer))
    }

    /// An error with the end of its log, if the balancer has ended.
    pub fn balancer_runs(&mut self) -> Result<(), LabError> {
        self.balancer.as_mut().map_or(Ok(()), Balancer::runs)
    }
}

/// What a PC serves.
pub(super) fn served_by(pc: &str) -> Vec<Responder> {
    if matches!(pc, "pc1" | "pc3") {
        return [Kind::Smtp, Kind::Dns, Kind::Radius, Kind::Echo].map(usual).into();
    }
    let web = Responder { kind: Kind::Http, port: 8080 };
    let usual = [Kind::Smtp, Kind::Pop3, Kind::Imap, Kind::Http, Kind::Echo].map(usual);
    usual.into_iter().chain([web]).collect()
}

fn usual(kind: Kind) -> Responder {
    Responder { kind, port: kind.default_port() }
}

/// Starts the lab's servers on a host of any site; returns when all their ports are open.
pub fn start_server(site: &Site, host: &str, program: &Path, serve: &[Responder]) -> Result<Process, LabError> {
    start_server_that(site, host, program, serve, &[])
}

fn start_server_that(
    site: &Site,
    host: &str,
    program: &Path,
    serve: &[Responder],
    arguments: &[&str],
) -> Result<Process, LabError> {
    let mut command = site.host(host)?.command(program);
    command.args(["lab-server", "--name", host]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    for responder in serve {
        command.arg("--serve").arg(responder.to_string());
    }
    let mut process = site.start(host, command)?;
    let (told, heard) = mpsc::channel();
    if let Some(stdout) = process.take_stdout() {
        std::thread::spawn(move || {
            let mut line = String::new();
            // Nothing is read after that line, and nothing is written.
            let _ = std::io::BufReader::new(stdout).read_line(&mut line);
            let _ = told.send(line);
        });
    }
    match heard.recv_timeout(START_PATIENCE) {
        Ok(line) if line == "ready\n" => Ok(process),
        Ok(_) => {
            let status = process.stop().map_err(LabError::file("end", program))?;
            Err(LabError::NotStarted { what: format!("the server on {host}"), why: ending(status) })
        }
        Err(_) => Err(LabError::NotStarted { what: format!("the server on {host}"), why: "not ready in time".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_the_balancer_takes_and_offers_what_the_guide_says() {
        let loaded = crate::config::parse("lb1.yaml", &config()).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let config = loaded.config;
        let services = config.virtual_servers.iter().flat_map(|(name, vs)| vs.services.keys().map(move |s| (name, s)));
        let mut has: Vec<_> = services.map(|(vs, service)| (vs.to_string(), service.to_string())).collect();
        let mut offered: Vec<_> = OFFERS.iter().map(|o| (o.virtual_server.to_owned(), o.service())).collect();
        has.sort();
        offered.sort();
        assert_eq!(has, offered);
    }

    #[test]
    fn addresses_read_the_same_in_both_families() {
        assert_eq!(OFFERS[1].address6().to_string(), "[2001:db8::110]:110");
        assert_eq!((pc_address(1).to_string(), pc_address6(1).to_string()), ("10.1.0.11".into(), "fd00:1::11".into()));
    }
}
