//! What runs where, behind which virtual IP, and the configuration of the balancer for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::certificate::Certificate;
use super::exim::{DOMAIN, Role};
use super::machine::Machine;
use super::{apache, bind, courier, exim, freeradius, store};
use crate::lab::balancer::Balancer;
use crate::lab::error::LabError;
use crate::lab::mail::{self, BALANCER, BALANCER_ADDRESS, BALANCER_MAC, CLIENT, SOURCE_NAT};
use crate::lab::operator::Operator;
use crate::lab::servers::RADIUS_SECRET;
use crate::lab::site::Site;

/// As every pool of the configuration has it: twice as quick as the default, since there is much to show.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
pub const CHECK_FALL: u32 = 3;
/// A server that fails is out after this at the latest.
pub const DETECTION: Duration = CHECK_INTERVAL.saturating_mul(CHECK_FALL).saturating_add(CHECK_TIMEOUT);

pub const PCS: [&str; 4] = ["pc1", "pc2", "pc3", "pc4"];

/// A kind of server that can fail for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Software {
    EximMx,
    EximRelay,
    Pop3,
    Imap,
    Apache,
    FreeRadius,
    Bind,
}

impl Software {
    pub const ALL: [Self; 7] =
        [Self::EximMx, Self::EximRelay, Self::Pop3, Self::Imap, Self::Apache, Self::FreeRadius, Self::Bind];

    /// As a reader knows it.
    pub fn title(self) -> &'static str {
        match self {
            Self::EximMx => "Exim (MX)",
            Self::EximRelay => "Exim (relay)",
            Self::Pop3 => "Courier POP3",
            Self::Imap => "Courier IMAP",
            Self::Apache => "Apache",
            Self::FreeRadius => "FreeRADIUS",
            Self::Bind => "BIND",
        }
    }

    /// The machines that run it.
    pub fn machines(self) -> [&'static str; 2] {
        if matches!(self, Self::EximMx | Self::FreeRadius | Self::Bind) { ["pc1", "pc3"] } else { ["pc2", "pc4"] }
    }

    /// The programs that it is on a machine.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::EximMx | Self::EximRelay => &[exim::PROGRAM],
            Self::Pop3 => &courier::POP3,
            Self::Imap => &courier::IMAP,
            Self::Apache => &[apache::PROGRAM],
            Self::FreeRadius => &[freeradius::PROGRAM],
            Self::Bind => &[bind::PROGRAM],
        }
    }

    /// Starts it (again) on a machine that is prepared.
    fn start(self, machine: &mut Machine) -> Result<(), LabError> {
        match self {
            Self::EximMx => exim::start(machine, &Role::Mx),
            Self::EximRelay => exim::start(machine, &relay()),
            Self::Pop3 => courier::start_pop3(machine),
            Self::Imap => courier::start_imap(machine),
            Self::Apache => apache::start(machine),
            Self::FreeRadius => freeradius::start(machine),
            Self::Bind => bind::start(machine),
        }
    }
}

/// How a virtual server reaches its servers. Each one of the site exists in both modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Dsr,
    Nat,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::Dsr, Self::Nat];

    pub fn word(self) -> &'static str {
        match self {
            Self::Dsr => "dsr",
            Self::Nat => "nat",
        }
    }
}

/// A service of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub virtual_server: &'static str,
    /// Last byte of 192.0.2.x in DSR mode.
    vip: u8,
    /// The service's name, and its pool's.
    pub service: &'static str,
    /// The pool's.
    profile: &'static str,
    pub software: Software,
    pub udp: bool,
    pub port: u16,
}

/// Each profile that a server of the site stands for, and the relay at port 25 besides.
pub const OFFERS: [Offer; 15] = {
    use Software::{Apache, Bind, EximMx, EximRelay, FreeRadius, Imap, Pop3};
    [
        offer("mx", 25, "smtp", "smtp", EximMx, 25),
        offer("relay", 26, "relay", "smtp", EximRelay, 25),
        offer("relay", 26, "submission", "submission", EximRelay, 587),
        offer("relay", 26, "smtps", "smtps", EximRelay, 465),
        offer("mailbox", 110, "pop3", "pop3", Pop3, 110),
        offer("mailbox", 110, "pop3s", "pop3s", Pop3, 995),
        offer("mailbox", 110, "imap", "imap", Imap, 143),
        offer("mailbox", 110, "imaps", "imaps", Imap, 993),
        offer("webmail", 80, "http", "http", Apache, 80),
        offer("webmail", 80, "webmail", "webmail", Apache, 443),
        offer("homepages", 81, "https", "https", Apache, 443),
        offer("infra", 53, "dns", "dns", Bind, 53).by_udp(),
        offer("infra", 53, "dns-tcp", "dns", Bind, 53),
        offer("infra", 53, "radius-auth", "radius-auth", FreeRadius, 1812).by_udp(),
        offer("infra", 53, "radius-acct", "radius-acct", FreeRadius, 1813).by_udp(),
    ]
};

const fn offer(
    virtual_server: &'static str,
    vip: u8,
    service: &'static str,
    profile: &'static str,
    software: Software,
    port: u16,
) -> Offer {
    Offer { virtual_server, vip, service, profile, software, udp: false, port }
}

impl Offer {
    const fn by_udp(self) -> Self {
        Self { udp: true, ..self }
    }

    /// The one that is called so.
    pub fn named(service: &str) -> Result<Self, LabError> {
        OFFERS.into_iter().find(|offer| offer.service == service).ok_or_else(|| LabError::NoHost(service.into()))
    }

    /// Last byte of its address: servers have that of DSR on their loopback, and that of NAT, a hundred
    /// higher, nowhere.
    fn number(&self, mode: Mode) -> u8 {
        match mode {
            Mode::Dsr => self.vip,
            Mode::Nat => self.vip.saturating_add(100),
        }
    }

    pub fn vip(&self, mode: Mode, v6: bool) -> IpAddr {
        let number = self.number(mode);
        if v6 { mail::vip6(number).into() } else { Ipv4Addr::new(192, 0, 2, number).into() }
    }

    pub fn address(&self, mode: Mode, v6: bool) -> SocketAddr {
        SocketAddr::new(self.vip(mode, v6), self.port)
    }

    /// As the configuration and the state call its virtual server.
    pub fn virtual_server(&self, mode: Mode) -> String {
        match mode {
            Mode::Dsr => self.virtual_server.into(),
            Mode::Nat => format!("{}-nat", self.virtual_server),
        }
    }
}

fn relay() -> Role {
    // The customers' networks, and the MXs' own addresses: their virtual IP is on this machine's loopback too.
    let customers = ["203.0.113.0/24", "2001:db8:c::/64"].map(str::to_owned).into();
    let mx = [1, 3].map(|n| mail::pc_address(n).to_string()).into();
    Role::Relay { customers, mx }
}

/// What the pool of a service asks beyond its profile: logins, and what only this site can answer.
fn question(service: &str, dir: &Path) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    let account = format!("user: {}, password-file: {}", store::PROBE.user, file(PASSWORD_FILE));
    let secret = format!("secret-file: {}", file(SECRET_FILE));
    let zone = format!("query: {DOMAIN}, record: MX, answer: \"10 mx.{DOMAIN}.\"");
    match service {
        "smtp" => format!("sender: \"\", recipient: {}@{DOMAIN}", store::PROBE.user),
        "submission" => format!("tls: starttls, {account}"),
        "smtps" | "pop3" | "pop3s" | "imap" | "imaps" => account,
        "http" | "webmail" | "https" => "body: \"Served by pc[24]\"".into(),
        "dns" => zone,
        "dns-tcp" => format!("{zone}, transport: tcp"),
        "radius-auth" => format!("{secret}, {account}"),
        "radius-acct" => secret,
        _ => String::new(),
    }
}

/// Beside the configuration: the probe account's password, and the secret that RADIUS shares.
const PASSWORD_FILE: &str = "probe.password";
const SECRET_FILE: &str = "radius.secret";

/// The balancer's configuration file; `dir` has the files that it names.
pub fn config(dir: &Path) -> String {
    let mut text = format!(
        "# The balancer of a site with Exim, Courier, Apache, FreeRADIUS and BIND. Every virtual server is there
# twice, so that both modes can be tried: DSR, and NAT at an address a hundred higher.
hostname: lb1
interfaces:
  bridge: br0
  ports: [up0, p1, p2, p3, p4]
  mac: \"{BALANCER_MAC}\"
  inside: [10.1.0.1/24, \"fd00:1::1/64\"]
source-nat:
  - address: {}
  - address: \"{}\"
servers:
",
        SOURCE_NAT[0], SOURCE_NAT[1]
    );
    for n in 1..=4 {
        let (four, six) = (mail::pc_address(n), mail::pc_address6(n));
        let _ = writeln!(text, "  pc{n}: {{address: {four}, address6: \"{six}\"}}");
    }
    let [interval, timeout] = [CHECK_INTERVAL, CHECK_TIMEOUT].map(|d| d.as_millis());
    text += "# A server that comes back has its full share at once, and one that fails again and again is not held
# down: here they are made to fail.
pools:
";
    for offer in OFFERS {
        let Offer { service, profile, .. } = offer;
        let _ = writeln!(
            text,
            "  {service}:\n    profile: {profile}\n    members: [{}]",
            offer.software.machines().join(", ")
        );
        let _ = writeln!(text, "    slow-start: 0s\n    check:");
        let _ = writeln!(
            text,
            "      {{interval: {interval}ms, timeout: {timeout}ms, fall: {CHECK_FALL}, flap-hold: 0s, {}}}",
            question(service, dir)
        );
    }
    text += "virtual-servers:\n";
    for mode in Mode::ALL {
        let mut last = None;
        for offer in OFFERS {
            if last.replace(offer.virtual_server) != Some(offer.virtual_server) {
                let (four, six) = (offer.vip(mode, false), offer.vip(mode, true));
                let name = offer.virtual_server(mode);
                let _ = write!(text, "  {name}:\n    addresses: [{four}, \"{six}\"]\n    services:\n");
            }
            // A service of the DNS's pool is UDP unless it says otherwise.
            let protocol = if offer.service == "dns-tcp" { ", protocol: tcp" } else { "" };
            let _ = writeln!(text, "      {0}: {{pool: {0}, mode: {1}{protocol}}}", offer.service, mode.word());
        }
    }
    text
}

/// The zone `example.net`: who takes its mail, and where things are.
fn zone() -> String {
    let mut text = "@ MX 10 mx\n".to_owned();
    let mut names: BTreeMap<&str, Offer> = BTreeMap::new();
    for offer in OFFERS {
        names.entry(offer.virtual_server).or_insert(offer);
    }
    if let Some(infra) = names.get("infra").copied() {
        names.insert("ns", infra);
    }
    for (name, offer) in names {
        let _ = writeln!(text, "{name} A {}\n{name} AAAA {}", offer.vip(Mode::Dsr, false), offer.vip(Mode::Dsr, true));
    }
    text
}

/// The site with its servers running.
#[derive(Debug)]
pub struct RealSite {
    machines: BTreeMap<String, Machine>,
    balancer: Option<Balancer>,
    lbd: PathBuf,
    pub operator: Operator,
    // Last: it removes what the programs above stand on.
    pub site: Site,
}

impl RealSite {
    /// Builds the site and starts all servers at once; returns when all are open. `lbd` is the program itself.
    pub fn start(lbd: &Path) -> Result<Self, LabError> {
        let mut plan = mail::plan(4);
        // Virtual IPs that the simulated site does not have.
        let new = OFFERS.iter().filter(|offer| !mail::OFFERS.iter().any(|known| known.vip == offer.vip));
        let new: BTreeMap<u8, &Offer> = new.map(|offer| (offer.vip, offer)).collect();
        for (pc, offer) in PCS.into_iter().flat_map(|pc| new.values().map(move |offer| (pc, offer))) {
            plan.ip(pc, &format!("addr add {}/32 dev lo", offer.vip(Mode::Dsr, false)));
            plan.ip(pc, &format!("addr add {}/128 dev lo nodad", offer.vip(Mode::Dsr, true)));
        }
        let site = Site::build(&plan)?;
        let operator = Operator::new(&site, CLIENT, &[(BALANCER, BALANCER_ADDRESS)])?;
        let dir = site.dir();
        let mut this = Self { machines: BTreeMap::new(), balancer: None, lbd: lbd.into(), operator, site };
        let certificate = Certificate::make(&dir)?;
        let mail = dir.join("mail");
        store::create(&mail)?;
        // Making Courier's user database takes a while on each machine.
        let prepared: Vec<_> = std::thread::scope(|scope| {
            let threads = PCS.map(|pc| {
                let (this, mail, certificate) = (&this, &mail, &certificate);
                scope.spawn(move || this.prepare(pc, mail, certificate))
            });
            threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).into()
        });
        for machine in prepared {
            let machine = machine?;
            this.machines.insert(machine.name().to_owned(), machine);
        }
        for machine in this.machines.values_mut() {
            let all = Software::ALL.into_iter().filter(|software| software.machines().contains(&machine.name()));
            let all: Vec<_> = all.collect();
            if all.contains(&Software::Pop3) {
                courier::start_auth(machine)?;
            }
            for software in all {
                software.start(machine)?;
            }
        }
        for machine in this.machines.values_mut() {
            machine.ready()?;
        }
        Ok(this)
    }

    fn prepare(&self, pc: &str, mail: &Path, certificate: &Certificate) -> Result<Machine, LabError> {
        let (host, dir, shared) = (self.site.host(pc)?, self.site.dir().join(pc), [(mail, store::MAIL)]);
        let mx = Software::EximMx.machines().contains(&pc);
        let directories: Vec<&str> = if mx {
            [&exim::DIRECTORIES[..], &freeradius::DIRECTORIES, &bind::DIRECTORIES].concat()
        } else {
            [&exim::DIRECTORIES[..], &courier::DIRECTORIES, &apache::DIRECTORIES].concat()
        };
        let machine = Machine::new(host, &dir, &shared, &directories, &self.lbd)?;
        machine.directory(store::NOTHING, "root", 0o755)?;
        if mx {
            exim::prepare(&machine, &Role::Mx, certificate)?;
            freeradius::prepare(&machine)?;
            bind::prepare(&machine, &zone())?;
        } else {
            exim::prepare(&machine, &relay(), certificate)?;
            courier::prepare(&machine, certificate)?;
            apache::prepare(&machine, certificate)?;
        }
        Ok(machine)
    }

    pub fn machine(&self, pc: &str) -> Result<&Machine, LabError> {
        self.machines.get(pc).ok_or_else(|| LabError::NoHost(pc.into()))
    }

    /// Kills a kind of server on a machine: its ports are closed.
    pub fn stop(&mut self, pc: &str, software: Software) -> Result<(), LabError> {
        let machine = self.machines.get_mut(pc).ok_or_else(|| LabError::NoHost(pc.into()))?;
        software.programs().iter().try_for_each(|program| machine.kill(program))
    }

    /// Starts again what was stopped; returns when its ports are open.
    pub fn start_again(&mut self, pc: &str, software: Software) -> Result<(), LabError> {
        let machine = self.machines.get_mut(pc).ok_or_else(|| LabError::NoHost(pc.into()))?;
        software.start(machine)?;
        machine.ready()
    }

    pub fn config_file(&self) -> PathBuf {
        self.site.dir().join("lb1.yaml")
    }

    /// The configuration, and the files that it names.
    pub fn write_config(&self) -> Result<(), LabError> {
        let dir = self.site.dir();
        for (name, secret) in [(PASSWORD_FILE, store::PROBE.password), (SECRET_FILE, RADIUS_SECRET)] {
            let path = dir.join(name);
            std::fs::write(&path, format!("{secret}\n")).map_err(LabError::file("write", &path))?;
            let only_root = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, only_root).map_err(LabError::file("set the mode of", &path))?;
        }
        let path = self.config_file();
        std::fs::write(&path, config(&dir) + &self.operator.section()).map_err(LabError::file("write", path))
    }

    /// Starts `lbd run` on lb1.
    pub fn start_balancer(&mut self) -> Result<&mut Balancer, LabError> {
        self.write_config()?;
        let balancer = Balancer::start(&self.site, BALANCER, &self.lbd, &self.config_file())?;
        Ok(self.balancer.insert(balancer))
    }

    pub fn balancer_runs(&mut self) -> Result<(), LabError> {
        self.balancer.as_mut().map_or(Ok(()), Balancer::runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_the_balancer_takes_and_offers_every_service_in_both_modes() {
        let loaded = crate::config::parse("lb1.yaml", &config(Path::new("/run/lab"))).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        for (offer, mode) in OFFERS.into_iter().flat_map(|offer| Mode::ALL.map(|mode| (offer, mode))) {
            let servers = loaded.config.virtual_servers.iter();
            let (_, server) = servers.clone().find(|(name, _)| name.to_string() == offer.virtual_server(mode)).unwrap();
            let (_, service) = server.services.iter().find(|(name, _)| name.to_string() == offer.service).unwrap();
            assert_eq!((service.ports.first, service.ports.last), (offer.port, offer.port), "{offer:?}");
        }
    }
}
