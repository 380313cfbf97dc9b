//! A site on one machine: hosts as network namespaces, cables as veth pairs.
//!
//! [`Plan`] describes, [`Site::build`] makes it true with `ip -batch` and `ethtool`, and dropping
//! the [`Site`] removes everything. What veth needs for XDP is done for every end of every cable:
//! receive offload (GRO) on, because a redirect into a veth is delivered only where its far end has
//! it, and checksum offload off, because GRO on any port of the way makes partial checksums again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::claim::Claim;
use super::error::LabError;
use super::host::Host;
use super::process::{Process, tie_to_this_process};

/// Of every host, before its first address. Duplicate address detection would keep IPv6 addresses
/// from working for a second; redirects would teach hosts ways around the balancer.
const SYSCTLS: &[(&str, &str)] = &[
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.dad_transmits", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.ipv6.conf.all.accept_redirects", "0"),
    ("net.ipv6.conf.default.accept_redirects", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.conf.all.accept_redirects", "0"),
    ("net.ipv4.conf.default.accept_redirects", "0"),
    ("net.ipv4.conf.all.send_redirects", "0"),
    ("net.ipv4.conf.default.send_redirects", "0"),
    // A lab's bursts are no attack.
    ("net.ipv4.icmp_ratelimit", "0"),
];

/// A site to build. Ends of cables are written `host:interface`; a host exists once it is named.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    hosts: BTreeMap<String, HostPlan>,
    cables: Vec<(End, End)>,
    /// The first description that made no sense, reported by [`Site::build`].
    wrong: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct HostPlan {
    /// Lines for `ip -batch`, in order.
    lines: Vec<String>,
    sysctls: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct End {
    host: String,
    device: String,
}

impl Plan {
    pub fn new() -> Self {
        Self::default()
    }

    fn host(&mut self, name: &str) -> &mut HostPlan {
        self.hosts.entry(name.to_owned()).or_default()
    }

    fn end(&mut self, text: &str) -> End {
        let (host, device) = text.split_once(':').unwrap_or((text, ""));
        let sound =
            |s: &str| (1..=15).contains(&s.len()) && s.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !(sound(host) && sound(device)) && self.wrong.is_none() {
            self.wrong = Some(text.to_owned());
        }
        self.host(host);
        End { host: host.to_owned(), device: device.to_owned() }
    }

    /// A cable between two interfaces, which are made by it and set up.
    pub fn cable(&mut self, a: &str, b: &str) -> &mut Self {
        let ends = (self.end(a), self.end(b));
        for end in [&ends.0, &ends.1] {
            let line = format!("link set {} up", end.device);
            self.host(&end.host).lines.push(line);
        }
        self.cables.push(ends);
        self
    }

    /// A switch: a bridge without spanning tree and with one fixed MAC (left alone, a bridge changes its
    /// own when a port joins). Its ports are cabled before.
    pub fn bridge(&mut self, bridge: &str, mac: &str, ports: &[&str]) -> &mut Self {
        let end = self.end(bridge);
        let device = end.device;
        let lines = &mut self.host(&end.host).lines;
        lines.push(format!("link add {device} address {mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"));
        for port in ports {
            // Ports have no addresses of their own to answer with.
            lines.push(format!("link set {port} addrgenmode none"));
            lines.push(format!("addr flush dev {port} scope link"));
            lines.push(format!("link set {port} master {device}"));
        }
        lines.push(format!("link set {device} up"));
        self
    }

    /// An address with its prefix length, `10.1.0.2/24` or `fd00:1::2/64`.
    pub fn address(&mut self, end: &str, address: &str) -> &mut Self {
        let end = self.end(end);
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&end.host, &format!("addr add {address} dev {}{nodad}", end.device))
    }

    /// Any line of `ip -batch`, in its order among the host's other lines; those that begin with `-6` come
    /// after the rest, since a batch has one address family.
    pub fn ip(&mut self, host: &str, line: &str) -> &mut Self {
        self.host(host).lines.push(line.to_owned());
        self
    }

    /// Set before the host has any interface.
    pub fn sysctl(&mut self, host: &str, key: &str, value: &str) -> &mut Self {
        self.host(host).sysctls.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Forwards between its interfaces, in both address families.
    pub fn router(&mut self, host: &str) -> &mut Self {
        self.sysctl(host, "net.ipv4.ip_forward", "1").sysctl(host, "net.ipv6.conf.all.forwarding", "1")
    }
}

/// A site that exists; dropping it removes it.
#[derive(Debug)]
pub struct Site {
    hosts: BTreeMap<String, Host>,
    // Last: what it removes is in use by the fields above.
    claim: Claim,
}

impl Site {
    /// Removes what dead owners left behind, then builds. On an error nothing stays.
    pub fn build(plan: &Plan) -> Result<Self, LabError> {
        if let Some(text) = &plan.wrong {
            return Err(LabError::BadEnd(text.clone()));
        }
        let claim = Claim::new()?;

        let mut site = Self { hosts: BTreeMap::new(), claim };
        for (name, host_plan) in &plan.hosts {
            let host = Host::create(name, &site.claim.namespace(name))?;
            let common = SYSCTLS.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            host.sysctls(common.chain(host_plan.sysctls.iter().cloned()).collect())?;
            site.hosts.insert(name.clone(), host);
        }

        let cables = plan.cables.iter().fold(String::new(), |mut text, (a, b)| {
            let (from, to) = (site.claim.namespace(&a.host), site.claim.namespace(&b.host));
            let _ = writeln!(
                text,
                "link add {} netns {from} numrxqueues 1 numtxqueues 1 type veth peer name {} netns {to} numrxqueues 1 numtxqueues 1",
                a.device, b.device
            );
            text
        });
        ip_batch(None, &cables)?;
        for end in plan.cables.iter().flat_map(|(a, b)| [a, b]) {
            site.ready_for_xdp(&end.host, &end.device)?;
        }
        for (name, host_plan) in &plan.hosts {
            let text = host_plan.lines.iter().fold("link set lo up\n".to_owned(), |text, line| text + line + "\n");
            ip_batch(Some(site.host(name)?.namespace()), &text)?;
        }
        Ok(site)
    }

    fn ready_for_xdp(&self, host: &str, device: &str) -> Result<(), LabError> {
        let mut ethtool = self.host(host)?.command("ethtool");
        ethtool.args(["-K", device, "gro", "on", "tx", "off"]);
        run(ethtool, &format!("{host}:{device}"), "")
    }

    /// The owner's process id, and a number if it has several labs.
    pub fn id(&self) -> &str {
        self.claim.id()
    }

    /// For files of this site; removed with it.
    pub fn dir(&self) -> PathBuf {
        self.claim.dir()
    }

    pub fn host(&self, name: &str) -> Result<&Host, LabError> {
        self.hosts.get(name).ok_or_else(|| LabError::NoHost(name.into()))
    }

    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// Further lines of `ip -batch` in one host: pull a cable (`link set eth0 down`), move an address.
    pub fn ip(&self, host: &str, lines: &str) -> Result<(), LabError> {
        ip_batch(Some(self.host(host)?.namespace()), lines)
    }

    /// Starts a command in a host; it dies with its handle, with the site, or with this process.
    pub fn start(&self, host: &str, command: Command) -> Result<Process, LabError> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.host(host)?.start(command).map_err(|source| LabError::NoProgram { program, source })
    }
}

/// Runs lines through `ip -batch`, in a namespace or outside.
fn ip_batch(namespace: Option<&str>, lines: &str) -> Result<(), LabError> {
    let (mut any, mut v6) = (String::new(), String::new());
    for line in lines.lines() {
        let (batch, line) = line.strip_prefix("-6 ").map_or((&mut any, line), |line| (&mut v6, line));
        batch.push_str(line);
        batch.push('\n');
    }
    for (family, batch) in [(None, any), (Some("-6"), v6)] {
        if batch.is_empty() {
            continue;
        }
        let mut ip = Command::new("ip");
        tie_to_this_process(&mut ip);
        ip.args(namespace.map(|namespace| ["-n", namespace]).into_iter().flatten());
        ip.args(family).args(["-batch", "-"]);
        run(ip, namespace.unwrap_or("the main network"), &batch)?;
    }
    Ok(())
}

fn run(mut command: Command, place: &str, input: &str) -> Result<(), LabError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let no_program = |source| LabError::NoProgram { program: program.clone(), source };
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(no_program)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that stops reading has something to say on stderr.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(no_program)?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    // "Command failed -:7": the seventh line of its input.
    let number = stderr.rsplit_once("-:").and_then(|(_, number)| number.parse::<usize>().ok());
    let line = number.and_then(|number| input.lines().nth(number.checked_sub(1)?)).unwrap_or_default().to_owned();
    Err(LabError::Program { program, place: place.into(), line, stderr })
}
