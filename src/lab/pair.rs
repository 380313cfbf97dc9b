//! The mail cluster with two balancers: router, two boxes that are switches, a cross-connect, a heartbeat cable, and
//! two PCs behind each box.
//!
//! ```text
//!                ┌─ up0 lb1 p1, p2 ── pc1, pc2
//!   client ─ router    x0 │ hb0, and a serial line
//!                └─ up0 lb2 p1, p2 ── pc3, pc4
//! ```
//!
//! Each balancer sets up its own bridge from its configuration. The router is a switch towards the two, so that there
//! is a loop, which the pair keeps open. At the router's switch there is one more machine, the newcomer, which has never
//! heard of anybody.

pub mod arrivals;
pub mod crowd;
pub mod frames;
pub mod line;
pub mod newcomers;
pub mod record;
pub mod rounds;
pub mod trial;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::line::Line;
use super::api::Api;
use super::balancer::Balancer;
use super::error::LabError;
use super::mail::{self, ECHOES, OFFERS, ROUTER};
use super::operator::Operator;
use super::process::{Process, ending};
use super::site::{Plan, Site};
use super::typist::Typist;
use crate::core::random::Random;

pub const BOXES: [&str; 2] = ["lb1", "lb2"];
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 3)];
pub const MACS: [&str; 2] = ["02:00:00:00:01:01", "02:00:00:00:01:02"];
/// A machine on the balancers' own segment.
pub const NEWCOMER: &str = "newcomer";
/// The ports of the router's switch: towards the two boxes, and the newcomer.
pub const ROUTER_PORTS: [&str; 3] = ["lan1", "lan2", "lan3"];
/// The PCs behind each box.
pub const BEHIND: [[&str; 2]; 2] = [["pc1", "pc2"], ["pc3", "pc4"]];
/// Where the cables between the boxes come together: x1 and x2 are the cross-connect's, h1 and h2 the heartbeats'.
pub const PANEL: &str = "panel";
/// All that each box has: pulled at once, it is off.
pub const PORTS: [&str; 5] = ["up0", "x0", "hb0", "p1", "p2"];

/// The cables and machines.
pub fn plan() -> Plan {
    let mut plan = Plan::new();
    plan.router(ROUTER).router(BOXES[0]).router(BOXES[1]);
    mail::client(&mut plan);
    plan.cable("router:lan1", "lb1:up0").cable("router:lan2", "lb2:up0");
    plan.cable(&format!("{NEWCOMER}:eth0"), "router:lan3");
    plan.bridge("router:lan", "02:00:00:00:02:01", &ROUTER_PORTS);
    mail::router_inside(&mut plan);
    // The cables between the boxes go through a patch panel, where they can be cut: what is cut at a box, lbd mends.
    for (cable, port) in [("x", "x0"), ("h", "hb0")] {
        let ends = [1, 2].map(|n| format!("{cable}{n}"));
        for (end, name) in ends.iter().zip(BOXES) {
            plan.cable(&format!("{PANEL}:{end}"), &format!("{name}:{port}"));
        }
        let mac = format!("02:00:00:00:03:0{}", if cable == "x" { 1 } else { 2 });
        plan.bridge(&format!("{PANEL}:br-{cable}"), &mac, &[&ends[0], &ends[1]]);
        // A cable has no memory: it would keep back what is for a machine that has come to its other end.
        plan.ip(PANEL, &format!("link set br-{cable} type bridge ageing_time 0"));
    }
    plan.address("lb1:hb0", "10.9.0.1/30").address("lb2:hb0", "10.9.0.2/30");
    for (n, at) in [(1, "lb1:p1"), (2, "lb1:p2"), (3, "lb2:p1"), (4, "lb2:p2")] {
        plan.cable(&format!("pc{n}:eth0"), at);
        mail::pc(&mut plan, &format!("pc{n}"), n);
    }
    plan
}

/// The configuration of box 0 or 1, with its end of the serial line; `pair`: further lines of its section, each
/// indented by two.
pub fn config(index: usize, key: &Path, serial: &Path, pair: &str) -> String {
    let sections = own_sections(index, key, serial, pair);
    mail::config_of(BOXES[index.min(1)], &sections, &[&OFFERS[..], &ECHOES].concat())
}

/// That of a replacement: what is of this box alone, and nothing of what it is to serve.
pub fn blank_config(index: usize, key: &Path, serial: &Path) -> String {
    let sections = own_sections(index, key, serial, "");
    let own: String = sections.split_inclusive('\n').filter(|line| !line.starts_with("  inside:")).collect();
    format!("hostname: {}\n{own}", BOXES[index.min(1)])
}

/// Its sections `interfaces` and `pair`.
fn own_sections(index: usize, key: &Path, serial: &Path, pair: &str) -> String {
    let (own, other) = if index == 0 { (1, 2) } else { (2, 1) };
    format!(
        "interfaces:
  bridge: br0
  manage: true
  ports: [up0, x0, p1, p2]
  mac: \"{mac}\"
  addresses: [192.0.2.{lan}/24, \"2001:db8::{lan}/64\", 10.1.0.{lan}/24, \"fd00:1::{lan}/64\"]
  uplinks: [up0]
  cross-connect: [x0]
  inside: [10.1.0.1/24, \"fd00:1::1/64\"]
pair:
  peer-mac: \"{peer_mac}\"
  key-file: \"{key}\"
  paths:
    lan: {{local: 10.1.0.{lan}, peer: 10.1.0.{peer_lan}}}
    cable: {{local: 10.9.0.{own}, peer: 10.9.0.{other}, interface: hb0}}
    serial: {{device: \"{serial}\", baud: 115200}}
{pair}",
        mac = MACS[own - 1],
        peer_mac = MACS[other - 1],
        lan = own + 1,
        peer_lan = other + 1,
        key = key.display(),
        serial = serial.display(),
    )
}

/// The site with its servers running.
#[derive(Debug)]
pub struct PairSite {
    servers: BTreeMap<String, Process>,
    balancers: BTreeMap<usize, Balancer>,
    program: PathBuf,
    /// The serial line between the boxes.
    pub line: Line,
    pub operator: Operator,
    // Last: it removes what the processes above stand on.
    pub site: Site,
}

impl PairSite {
    /// Builds the site, starts a server on each PC, and gives both boxes a key and a configuration.
    pub fn start(program: &Path, pair: [&str; 2]) -> Result<Self, LabError> {
        let site = Site::build(&plan())?;
        let line = Line::lay(&site.dir())?;
        // The boxes have no way to the client's network: he sits at the router.
        let operator = Operator::new(&site, ROUTER, &[0, 1].map(|index| (BOXES[index], ADDRESSES[index])))?;
        let (servers, balancers) = (BTreeMap::new(), BTreeMap::new());
        let mut this = Self { servers, balancers, program: program.into(), line, operator, site };
        for pc in ["pc1", "pc2", "pc3", "pc4"] {
            let process = mail::start_server(&this.site, pc, program, &mail::served_by(pc))?;
            this.servers.insert(pc.into(), process);
        }
        let line = new_key()?;
        for (index, pair) in pair.into_iter().enumerate() {
            let key = this.key(index);
            write_secret(&key, &line)?;
            let path = this.config_file(index);
            std::fs::write(&path, config(index, &key, &this.line.device(index), pair))
                .map_err(LabError::file("write", path))?;
        }
        Ok(this)
    }

    /// The boxes, not started yet, have their administrator.
    pub fn let_operator_in(&self) -> Result<(), LabError> {
        for index in [0, 1] {
            let path = self.config_file(index);
            let text = std::fs::read_to_string(&path).map_err(LabError::file("read", &path))?;
            std::fs::write(&path, text + &self.operator.section()).map_err(LabError::file("write", path))?;
        }
        Ok(())
    }

    /// At the prompt of a box.
    pub fn log_in(&self, index: usize) -> anyhow::Result<Typist> {
        Typist::log_in(&self.site, &self.operator, BOXES[index.min(1)])
    }

    /// A box is off, and in its place there is another one, off still, that knows nothing: no bridge, no data plane, nothing
    /// kept, and a file that says nothing of what it is to serve.
    pub fn replace_box(&mut self, index: usize) -> anyhow::Result<()> {
        let name = BOXES[index.min(1)];
        self.power_off(index)?;
        self.balancers.remove(&index);
        self.site.ip(name, "link del br0\n")?;
        let [state, run] = ["state", "run"].map(|kind| self.site.dir().join(format!("{name}-{kind}")));
        let mut stop = self.site.host(name)?.command(&self.program);
        let status = stop.arg("stop").arg("--run-dir").arg(&run).status()?;
        anyhow::ensure!(status.success(), "`lbd stop` ended with {status}");
        std::fs::remove_dir_all(state)?;
        std::fs::remove_dir_all(run)?;
        std::fs::write(self.config_file(index), blank_config(index, &self.key(index), &self.line.device(index)))?;
        Ok(())
    }

    /// The cables of a box that was off are alive again.
    pub fn plug_in(&self, index: usize) -> Result<(), LabError> {
        let lines: String = PORTS.iter().map(|port| format!("link set {port} up\n")).collect();
        self.site.ip(BOXES[index.min(1)], &lines)
    }

    fn key(&self, index: usize) -> PathBuf {
        self.site.dir().join(format!("{}.key", BOXES[index.min(1)]))
    }

    /// The key file of a box.
    pub fn keys(&self, index: usize) -> Result<String, LabError> {
        let path = self.key(index);
        std::fs::read_to_string(&path).map_err(LabError::file("read", path))
    }

    pub fn write_keys(&self, index: usize, text: &str) -> Result<(), LabError> {
        write_secret(&self.key(index), text)
    }

    pub fn config_file(&self, index: usize) -> PathBuf {
        self.site.dir().join(format!("{}.yaml", BOXES[index.min(1)]))
    }

    /// Starts `lbd run` on a box, with the state and the data plane that it left there.
    pub fn start_balancer(&mut self, index: usize) -> Result<&mut Balancer, LabError> {
        let config = self.config_file(index);
        let balancer = Balancer::start(&self.site, BOXES[index.min(1)], &self.program, &config)?;
        self.balancers.remove(&index);
        Ok(self.balancers.entry(index).or_insert(balancer))
    }

    pub fn balancer(&mut self, index: usize) -> Result<&mut Balancer, LabError> {
        self.balancers.get_mut(&index).ok_or_else(|| LabError::NoHost(BOXES[index.min(1)].into()))
    }

    /// The API of a box.
    pub fn api(&self, index: usize) -> Result<Api, LabError> {
        Ok(Api::new(self.site.host(BOXES[index.min(1)])?.clone()))
    }

    /// What a box says of itself; nothing, if it does not answer.
    pub async fn standing(&self, index: usize) -> Standing {
        let Ok(api) = self.api(index) else { return Standing::default() };
        api.state().await.map_or_else(|_| Standing::default(), |state| Standing::of(&state))
    }

    /// Waits for one owner whose other box is ready and has been told all, and both see all servers and one uplink
    /// is open, as it is while the cross-connect works; the owner.
    pub async fn settled(&self, patience: Duration) -> anyhow::Result<usize> {
        let start = Instant::now();
        loop {
            let [one, two] = [self.standing(0).await, self.standing(1).await];
            let owner = usize::from(two.owns);
            let (mine, other) = if two.owns { (two, one) } else { (one, two) };
            let both = one.ready && two.ready && one.serves_all && two.serves_all;
            let one_way = one.uplink_open != two.uplink_open;
            if mine.owns && !other.owns && both && one_way && mine.told && other.complete {
                return Ok(owner);
            }
            anyhow::ensure!(start.elapsed() < patience, "after {patience:?} the pair is not settled: {one:?}, {two:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a box owns.
    pub async fn until_owns(&self, index: usize, patience: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        while !self.standing(index).await.owns {
            anyhow::ensure!(start.elapsed() < patience, "{} does not own after {patience:?}", BOXES[index.min(1)]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Takes each port of the router's switch out and puts it in again, in another order. A bridge floods its ports in
    /// the order in which they came, so that with one order only one of two boxes would always be asked first.
    pub fn shuffle(&self, random: &mut Random) -> Result<[&'static str; 3], LabError> {
        let mut ports = ROUTER_PORTS;
        random.shuffle(&mut ports);
        // One after the other: a bridge that has lost its last port has no carrier, and gets it back a second later.
        let again = ports.iter().map(|port| format!("link set {port} nomaster\nlink set {port} master lan\n"));
        self.site.ip(ROUTER, &again.collect::<String>())?;
        Ok(ports)
    }

    /// A box without power: its daemon is frozen, all its cables are dead at once, and then the daemon is gone.
    pub fn power_off(&mut self, index: usize) -> Result<(), LabError> {
        let lines: String = PORTS.iter().map(|port| format!("link set {port} down\n")).collect();
        let name = BOXES[index.min(1)];
        let failed = LabError::file("stop", name);
        let frozen = self.balancer(index)?.process().signal(Signal::SIGSTOP);
        frozen.map_err(failed)?;
        self.site.ip(name, &lines)?;
        self.balancer(index)?.process().kill().map_err(LabError::file("end", name))?;
        Ok(())
    }

    /// A box that was [off](Self::power_off) boots: nothing is left of its data plane and of its switch.
    pub fn power_on(&mut self, index: usize) -> Result<(), LabError> {
        let name = BOXES[index.min(1)];
        let mut command = self.site.host(name)?.command(&self.program);
        let run_dir = self.site.dir().join(format!("{name}-run"));
        let failed = |why| LabError::NotStarted { what: format!("{name} after its power was off"), why };
        let status =
            command.arg("stop").arg("--run-dir").arg(&run_dir).status().map_err(LabError::file("run", name))?;
        if !status.success() {
            return Err(failed(format!("lbd stop: {}", ending(status))));
        }
        // The switch first: with it and without lbd the cables would close a loop.
        let ports: String = PORTS.iter().map(|port| format!("link set {port} up\n")).collect();
        self.site.ip(name, &format!("link del br0\n{ports}"))?;
        self.start_balancer(index)?;
        Ok(())
    }
}

/// What a box says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub owns: bool,
    pub ready: bool,
    pub uplink_open: bool,
    /// It tells the other box, and that has all.
    pub told: bool,
    /// It is told, and has all.
    pub complete: bool,
    /// All members of all services get connections.
    pub serves_all: bool,
}

impl Standing {
    fn of(state: &serde_json::Value) -> Self {
        let is = |path: &str| state.pointer(path).and_then(serde_json::Value::as_bool).unwrap_or(false);
        let behind = state.pointer("/pair/sync/behind_records").and_then(serde_json::Value::as_u64);
        let services = state.get("services").and_then(serde_json::Value::as_array).into_iter().flatten();
        let mut members = services.filter_map(|service| service.get("members")?.as_array()).flatten().peekable();
        let scheduled = |member: &serde_json::Value| member.get("scheduled").and_then(serde_json::Value::as_bool);
        Self {
            owns: is("/pair/owns"),
            ready: is("/pair/ready"),
            uplink_open: is("/pair/uplink_open"),
            told: is("/pair/sync/tells") && behind == Some(0),
            complete: is("/pair/sync/complete"),
            serves_all: members.peek().is_some() && members.all(|member| scheduled(member) == Some(true)),
        }
    }
}

/// The line of a new key, as a key file has it.
pub fn new_key() -> Result<String, LabError> {
    let line = crate::pair::key::new_line(crate::pair::key::KeyId(1))
        .map_err(|error| LabError::NotStarted { what: "the pair's key".into(), why: error.to_string() })?;
    Ok(line.to_string())
}

/// A file that only its owner reads.
pub fn write_secret(path: &Path, text: &str) -> Result<(), LabError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(LabError::file("create", path))?;
    file.write_all(text.as_bytes()).map_err(LabError::file("write", path))
}
