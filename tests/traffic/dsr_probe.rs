//! Probes that reach a virtual IP at one server's MAC, between real sockets in network namespaces: the program at
//! egress, rule and routes, and the data plane beside them that owns the virtual IP and serves customers. There is no
//! `lbd run` here, whose health has probes of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lbd::config::{Config, Mac, Name};
use lbd::core::admin::Admin;
use lbd::core::forwarding::{Family, ForwardingState};
use lbd::core::marks::{Marks, PROBE_MARK, ProbePlace};
use lbd::core::moment::Moment;
use lbd::core::network::{Network, Place};
use lbd::core::plan::{Inputs, plan};
use lbd::core::target::Health;
use lbd::dataplane::DataPlane;
use lbd::lab::customer::{self, Visit};
use lbd::lab::mail::{self, BALANCER, CLIENT};
use lbd::lab::servers::{Kind, Responder};
use lbd::lab::{Host, Plan, Process, Site};
use lbd::os::netlink::{self, PROBE_LINK, ProbeObstacle, ProbeRoute};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::guest::where_there_are_vlans;
use super::stage::LBD;
use super::wire::{Wire, mac};

const PATIENCE: Duration = Duration::from_secs(20);
/// Of a probe that shall succeed; one of a machine that builds other things meanwhile.
const ANSWER: Duration = Duration::from_secs(5);
/// Of one that shall not.
const SILENCE: Duration = Duration::from_millis(1_500);

pub fn vip(v6: bool) -> IpAddr {
    if v6 { "2001:db8::25" } else { "192.0.2.25" }.parse().unwrap()
}

fn family(v6: bool) -> Family {
    if v6 { Family::V6 } else { Family::V4 }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn own_address(pc: u8, v6: bool) -> IpAddr {
    if v6 { mail::pc_address6(pc).into() } else { mail::pc_address(pc).into() }
}

fn serve(site: &Site, pcs: &[u8]) -> Vec<Process> {
    let echo = [Responder { kind: Kind::Echo, port: 7 }];
    let start = |n: &u8| mail::start_server(site, &format!("pc{n}"), Path::new(LBD), &echo);
    pcs.iter().map(start).collect::<Result<_, _>>().unwrap()
}

/// pc1 and so on behind the virtual IP, unprobed: whoever has a place is scheduled.
pub fn config(interfaces: &str, pcs: u8) -> Config {
    let mut text = format!("interfaces: {interfaces}\nservers:\n");
    for n in 1..=pcs {
        text += &format!("  pc{n}: {{address: {}, address6: \"{}\"}}\n", own_address(n, false), own_address(n, true));
    }
    let members = (1..=pcs).map(|n| format!("pc{n}")).collect::<Vec<_>>().join(", ");
    text += &format!(
        "pools: {{echo: {{members: [{members}], scheduler: round-robin, slow-start: 0s, check: {{type: none}}}}}}
virtual-servers:
  mx: {{addresses: [{}, \"{}\"], services: {{echo: {{protocol: tcp, port: 7, pool: echo, mode: dsr}}}}}}
",
        vip(false),
        vip(true)
    );
    lbd::config::parse("lb1.yaml", &text).unwrap_or_else(|refused| panic!("{refused}")).config
}

pub fn bridge(pcs: u8) -> String {
    let ports: String = (1..=pcs).map(|n| format!(", p{n}")).collect();
    format!(
        "{{bridge: br0, ports: [up0{ports}], mac: \"{}\", inside: [10.1.0.1/24, \"fd00:1::1/64\"]}}",
        mail::BALANCER_MAC
    )
}

/// What the daemon does with these rooms, without its health: made in the network of its host.
pub struct Balancer {
    pub config: Config,
    pub network: watch::Receiver<Arc<Network>>,
    _os: netlink::Handle,
    pub dataplane: DataPlane,
    pub route: ProbeRoute,
    marks: Marks,
}

impl Balancer {
    /// Returns when the place of every server is known.
    pub async fn start(config: Config, owner: bool) -> Self {
        let (network, os) = netlink::watch(netlink::Options::default()).await.unwrap();
        let addresses: Vec<IpAddr> = config
            .servers
            .values()
            .flat_map(|s| s.address.map(IpAddr::V4).into_iter().chain(s.address6.map(IpAddr::V6)))
            .collect();
        os.set_wanted(addresses.clone());
        let mut marks = Marks::default();
        let both = |server: &Name| [(server.clone(), Family::V4), (server.clone(), Family::V6)];
        marks.set(&config.servers.keys().flat_map(both).collect(), Moment::default());
        let dataplane = DataPlane::load(&config.limits, None).expect("these tests need root");
        if owner {
            dataplane.own_alone();
        }
        let mut this = Self { config, network, _os: os, dataplane, route: ProbeRoute::open().unwrap(), marks };
        let found = |now: &Arc<Network>| addresses.iter().all(|address| now.locate(*address).is_ok());
        let waited = tokio::time::timeout(PATIENCE, this.network.wait_for(found)).await.is_ok();
        assert!(waited, "not all servers found: {:#?}", this.network.borrow());
        this.settle().await;
        this
    }

    /// What the data plane shall hold, by what the kernel knows now.
    pub fn state(&self) -> ForwardingState {
        let network = self.network.borrow().clone();
        let (health, admin) = (Health::new(&BTreeSet::new(), Moment::default()), Admin::default());
        let inputs =
            Inputs { config: &self.config, health: &health, admin: &admin, network: &network, now: Moment::default() };
        let plan = plan(&inputs);
        assert_eq!(plan.problems, []);
        plan.state
    }

    async fn settle(&mut self) {
        let state = self.state();
        let names = self.network.borrow().links.iter().map(|(index, link)| (*index, link.name.clone())).collect();
        self.dataplane.apply(&state, &names, self.config.interfaces.xdp).unwrap();
        self.dataplane.set_probe_places(&self.marks.places(&state)).unwrap();
        let mut sources = BTreeMap::new();
        for v6 in [false, true] {
            let way = self.route.way_to(own_address(1, v6)).await.unwrap().expect("a way to pc1");
            sources.insert(family(v6), way.source);
        }
        let link = self.route.ensure(&sources).await.unwrap();
        self.dataplane.attach_probe(link).unwrap();
    }

    fn mark(&self, pc: u8, v6: bool) -> u32 {
        self.marks.mark(&name(&format!("pc{pc}")), family(v6)).unwrap()
    }

    fn count(&self, reason: &str) -> u64 {
        let counts = self.dataplane.reasons().unwrap();
        let names = lbd::dataplane::reasons::REASONS.iter().map(|(_, _, name, _)| *name);
        names.zip(counts).find(|(name, _)| *name == reason).unwrap_or_else(|| panic!("no counter {reason}")).1
    }

    pub async fn end(self) {
        self.route.remove().await.unwrap();
    }
}

/// A connection to `target`, marked; who greets.
async fn probe(mark: u32, target: SocketAddr, patience: Duration) -> io::Result<String> {
    probe_with(mark, target, patience, |_| Ok(())).await
}

async fn probe_with(
    mark: u32,
    target: SocketAddr,
    patience: Duration,
    set: impl FnOnce(&socket2::Socket) -> io::Result<()>,
) -> io::Result<String> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(target), socket2::Type::STREAM, None)?;
    socket.set_mark(mark)?;
    socket.set_nonblocking(true)?;
    set(&socket)?;
    let conversation = async {
        let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
        let stream: TcpStream = socket.connect(target).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        Ok(line.split(' ').next().unwrap_or_default().to_owned())
    };
    tokio::time::timeout(patience, conversation).await.map_err(|_| io::ErrorKind::TimedOut)?
}

fn at(v6: bool) -> SocketAddr {
    SocketAddr::new(vip(v6), 7)
}

/// Runs a test in the balancer's network, and ends with what it returns.
pub fn within<F: Future<Output = ()>>(site: &Site, host: &str, make: impl FnOnce() -> F + Send + 'static) {
    site.host(host).unwrap().block_on(make).unwrap();
}

async fn each_server_is_reached(balancer: &Balancer, pcs: u8, times: usize) {
    for v6 in [false, true] {
        for n in 1..=pcs {
            for _ in 0..times {
                let answered = probe(balancer.mark(n, v6), at(v6), ANSWER).await;
                assert_eq!(answered.as_deref().ok(), Some(format!("pc{n}").as_str()), "{answered:?}, {v6}");
            }
        }
    }
}

fn customers(host: &Host, v6: bool, count: usize) -> std::thread::JoinHandle<customer::Tally> {
    let host = host.clone();
    std::thread::spawn(move || {
        let visit = Visit { at_once: 8, ..Visit::new(Kind::Echo, at(v6)).times(count) };
        host.block_on(move || customer::visit(visit, |_| {})).unwrap()
    })
}

#[test]
fn on_a_bridge_a_probe_reaches_the_server_that_its_mark_names_while_customers_are_served() {
    let site = Site::build(&mail::plan(2)).unwrap();
    let _servers = serve(&site, &[1, 2]);
    let client = site.host(CLIENT).unwrap().clone();
    within(&site, BALANCER, move || async move {
        let balancer = Balancer::start(config(&bridge(2), 2), true).await;
        let visits = [false, true].map(|v6| customers(&client, v6, 2_000));
        let mut rounds = 0;
        while rounds == 0 || !visits.iter().all(|visit| visit.is_finished()) {
            each_server_is_reached(&balancer, 2, 10).await;
            rounds += 1;
        }
        println!("{rounds} rounds of 40 probes beside the customers");
        for visit in visits {
            let tally = visit.join().unwrap();
            assert_eq!((tally.served_count(), tally.failed_count()), (2_000, 0), "{tally:?}");
            assert_eq!((tally.of("pc1"), tally.of("pc2")), (1_000, 1_000), "{tally:?}");
        }
        balancer.end().await;
    });
}

#[test]
fn a_probe_whose_mark_has_no_place_reaches_nobody() {
    let site = Site::build(&mail::plan(2)).unwrap();
    let _servers = serve(&site, &[1, 2]);
    within(&site, BALANCER, move || async move {
        let mut balancer = Balancer::start(config(&bridge(2), 2), true).await;
        for v6 in [false, true] {
            let nobodys = probe(PROBE_MARK | 999, at(v6), SILENCE).await;
            assert_eq!(nobodys.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        }
        let mark = balancer.mark(2, false);
        balancer.dataplane.set_probe_places(&BTreeMap::new()).unwrap();
        let removed = probe(mark, at(false), SILENCE).await;
        assert_eq!(removed.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        balancer.settle().await;
        each_server_is_reached(&balancer, 2, 1).await;
        balancer.end().await;
    });
}

#[test]
fn without_their_interface_probes_are_refused_at_once_until_it_is_made_again() {
    let site = Site::build(&mail::plan(2)).unwrap();
    let _servers = serve(&site, &[1, 2]);
    let host = site.host(BALANCER).unwrap().clone();
    within(&site, BALANCER, move || async move {
        let mut balancer = Balancer::start(config(&bridge(2), 2), true).await;
        ip(&host, "link del lbd-probe");
        for v6 in [false, true] {
            let refused = probe(balancer.mark(1, v6), at(v6), ANSWER).await.unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EACCES), "{refused}");
            let obstacle = balancer.route.obstacle(vip(v6), (0, "br0")).await.unwrap();
            assert_eq!(obstacle, Some(ProbeObstacle::OtherWay { vip: vip(v6) }));
        }
        balancer.settle().await;
        each_server_is_reached(&balancer, 2, 1).await;
        ip(&host, "rule del pref 76");
        let obstacle = balancer.route.obstacle(vip(false), (0, "br0")).await.unwrap();
        assert_eq!(obstacle, Some(ProbeObstacle::OtherWay { vip: vip(false) }));
        balancer.settle().await;
        each_server_is_reached(&balancer, 2, 1).await;
        balancer.end().await;
    });
}

pub fn ip(host: &Host, command: &str) -> String {
    let output = host.command("ip").args(command.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the kernel has that an operator could miss or find too much.
fn standing(host: &Host) -> Vec<String> {
    ["-o -br link", "rule", "-6 rule", "route show table all", "-6 route show table all"]
        .map(|command| ip(host, command))
        .to_vec()
}

/// The kernel tells of the carriers of new cables a moment after both ends are up.
async fn until_all_have_a_carrier(host: &Host) {
    for _ in 0..100 {
        let links = ip(host, "-o -br link");
        if !["LOWERLAYERDOWN", "NO-CARRIER"].iter().any(|word| links.contains(word)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("after 5 s: {}", ip(host, "-o -br link"));
}

#[test]
fn what_is_removed_is_all_that_was_made_and_a_successor_takes_it_over() {
    let mut site_plan = mail::plan(1);
    // The operator's own, near ours.
    site_plan.ip(BALANCER, "rule add pref 77 fwmark 0x4d000000/0xff000000 lookup 76");
    site_plan.ip(BALANCER, "route add default via 192.0.2.1 table 76");
    let site = Site::build(&site_plan).unwrap();
    let _servers = serve(&site, &[1]);
    let host = site.host(BALANCER).unwrap().clone();
    within(&site, BALANCER, move || async move {
        until_all_have_a_carrier(&host).await;
        let before = standing(&host);
        let first = Balancer::start(config(&bridge(1), 1), true).await;
        each_server_is_reached(&first, 1, 1).await;
        let made = standing(&host);
        assert_ne!(made, before);
        drop(first.dataplane);
        // As after kill -9: everything stands, and its program still is in the kernel.
        let second = Balancer::start(config(&bridge(1), 1), true).await;
        assert_eq!(standing(&host), made);
        each_server_is_reached(&second, 1, 1).await;
        let filters = host.command("tc").args(["filter", "show", "dev", PROBE_LINK, "egress"]).output().unwrap();
        let filters = String::from_utf8(filters.stdout).unwrap();
        assert_eq!(filters.matches("direct-action").count(), 1, "{filters}");
        second.route.ensure(&BTreeMap::from([(Family::V6, None)])).await.unwrap();
        assert!(!ip(&host, "rule").contains("0x4c000000"), "no probes by IPv4, no rule");
        second.route.remove().await.unwrap();
        assert_eq!(standing(&host), before);
        second.route.remove().await.unwrap();
    });
}

#[test]
fn a_server_without_the_virtual_ip_does_not_answer_and_one_that_routes_says_so() {
    let site = Site::build(&mail::plan(3)).unwrap();
    let _servers = serve(&site, &[1, 2, 3]);
    site.ip("pc3", "addr del 192.0.2.25/32 dev lo\n-6 addr del 2001:db8::25/128 dev lo").unwrap();
    let pc3 = site.host("pc3").unwrap().clone();
    within(&site, BALANCER, move || async move {
        let balancer = Balancer::start(config(&bridge(3), 3), true).await;
        each_server_is_reached(&balancer, 2, 1).await;
        for v6 in [false, true] {
            let mark = balancer.mark(3, v6);
            let own = SocketAddr::new(own_address(3, v6), 7);
            assert_eq!(probe(0, own, ANSWER).await.unwrap(), "pc3", "its own address answers");
            let (forwarding, hops): (_, fn(&socket2::Socket) -> io::Result<()>) = if v6 {
                ("net.ipv6.conf.all.forwarding", |socket| socket.set_unicast_hops_v6(64))
            } else {
                ("net.ipv4.ip_forward", |socket| socket.set_ttl_v4(64))
            };
            let silent = probe(mark, at(v6), SILENCE).await.map_err(|error| error.kind());
            assert_eq!(silent, Err(io::ErrorKind::TimedOut), "{v6}: a host drops what is not its own");
            pc3.sysctl(forwarding, "1").unwrap();
            let told = probe(mark, at(v6), ANSWER).await.unwrap_err();
            assert_eq!(told.raw_os_error(), Some(libc::EHOSTUNREACH), "{v6}: a router says time exceeded: {told}");
            // What the hop limit is for: with more, the probe goes on to the virtual IP's owner, who schedules it.
            let mut others = BTreeSet::new();
            for _ in 0..3 {
                others.extend(probe_with(mark, at(v6), ANSWER, hops).await.ok());
            }
            assert_eq!(others, ["pc1", "pc2"].map(str::to_owned).into(), "answered with 64 hops in pc3's place");
            pc3.sysctl(forwarding, "0").unwrap();
            let closed = probe(balancer.mark(1, v6), SocketAddr::new(vip(v6), 9), ANSWER).await.unwrap_err();
            assert_eq!(closed.kind(), io::ErrorKind::ConnectionRefused, "a server with the VIP refuses a closed port");
        }
        balancer.end().await;
    });
}

/// A cable to the customer and one to each server; with `vlan`, pc1 has it tagged.
fn single_ports(vlan: Option<u16>) -> Plan {
    let mut plan = Plan::new();
    plan.router(BALANCER);
    plan.cable("client:eth0", "lb1:up0").cable("lb1:p1", "pc1:eth0").cable("lb1:p2", "pc2:eth0");
    plan.address("client:eth0", "192.0.2.10/24").address("client:eth0", "2001:db8::10/64");
    plan.address("lb1:up0", "192.0.2.2/24").address("lb1:up0", "2001:db8::2/64");
    for n in [1_u8, 2] {
        let (pc, mut port, mut device) = (format!("pc{n}"), format!("p{n}"), "eth0".to_owned());
        if let Some(vlan) = vlan.filter(|_| n == 1) {
            for (host, below) in [(BALANCER, &mut port), (pc.as_str(), &mut device)] {
                plan.ip(host, &format!("link add link {below} name {below}.{vlan} type vlan id {vlan}"));
                *below = format!("{below}.{vlan}");
                plan.ip(host, &format!("link set {below} up"));
            }
        }
        plan.sysctl(&pc, "net.ipv4.conf.all.arp_ignore", "1").sysctl(&pc, "net.ipv4.conf.all.arp_announce", "2");
        let (four, six) = (own_address(n, false), own_address(n, true));
        let end = format!("{pc}:{device}");
        plan.address(&end, &format!("{four}/24")).address(&end, &format!("{six}/64"));
        plan.ip(&pc, &format!("addr add {}/32 dev lo", vip(false)));
        plan.ip(&pc, &format!("addr add {}/128 dev lo nodad", vip(true)));
        plan.ip(&pc, "route add default via 10.1.0.2").ip(&pc, "-6 route add default via fd00:1::2");
        plan.address(&format!("lb1:{port}"), "10.1.0.2/32").address(&format!("lb1:{port}"), "fd00:1::2/128");
        plan.ip(BALANCER, &format!("route add {four}/32 dev {port} src 10.1.0.2"));
        plan.ip(BALANCER, &format!("-6 route add {six}/128 dev {port} src fd00:1::2"));
    }
    plan
}

const SINGLE: &str = "{ports: [up0, p1, p2]}";

#[test]
fn with_single_ports_probes_reach_their_server_and_a_strict_reverse_path_filter_is_named() {
    let site = Site::build(&single_ports(None)).unwrap();
    let _servers = serve(&site, &[1, 2]);
    let host = site.host(BALANCER).unwrap().clone();
    within(&site, BALANCER, move || async move {
        let balancer = Balancer::start(config(SINGLE, 2), true).await;
        each_server_is_reached(&balancer, 2, 5).await;
        let (p1, _) = balancer.network.borrow().link_named("p1").map(|(index, link)| (index, link.clone())).unwrap();
        for (filter, marked, passes) in [("0", "0", true), ("1", "0", false), ("1", "1", false), ("2", "0", true)] {
            host.sysctl("net.ipv4.conf.p1.rp_filter", filter).unwrap();
            host.sysctl("net.ipv4.conf.p1.src_valid_mark", marked).unwrap();
            let obstacle = balancer.route.obstacle(vip(false), (p1, "p1")).await.unwrap();
            let named = ProbeObstacle::ReversePath { vip: vip(false), link: "p1".into() };
            assert_eq!(obstacle, (!passes).then_some(named), "rp_filter {filter}");
            let patience = if passes { ANSWER } else { SILENCE };
            let answered = probe(balancer.mark(1, false), at(false), patience).await;
            assert_eq!(answered.is_ok(), passes, "rp_filter {filter}, src_valid_mark {marked}: {answered:?}");
            assert_eq!(
                probe(balancer.mark(1, true), at(true), ANSWER).await.unwrap(),
                "pc1",
                "IPv6 has no such filter"
            );
        }
        ip(&host, "addr add 192.0.2.25/32 dev lo");
        let obstacle = balancer.route.obstacle(vip(false), (p1, "p1")).await.unwrap();
        assert_eq!(obstacle, Some(ProbeObstacle::OwnAddress { vip: vip(false) }));
        balancer.end().await;
    });
}

#[test]
fn a_strict_reverse_path_filter_lets_answers_pass_on_a_bridge() {
    let site = Site::build(&mail::plan(1)).unwrap();
    let _servers = serve(&site, &[1]);
    let host = site.host(BALANCER).unwrap().clone();
    within(&site, BALANCER, move || async move {
        let balancer = Balancer::start(config(&bridge(1), 1), true).await;
        host.sysctl("net.ipv4.conf.all.rp_filter", "1").unwrap();
        let way = balancer.route.way_to(own_address(1, false)).await.unwrap().unwrap();
        assert_eq!(balancer.route.obstacle(vip(false), (way.link, "br0")).await.unwrap(), None);
        each_server_is_reached(&balancer, 1, 1).await;
        balancer.end().await;
    });
}

#[test]
fn a_server_in_a_vlan_is_probed_with_its_tag_and_one_without_without() {
    where_there_are_vlans(
        "traffic::dsr_probe::a_server_in_a_vlan_is_probed_with_its_tag_and_one_without_without",
        probe_a_server_in_a_vlan,
    );
}

fn probe_a_server_in_a_vlan() {
    let site = Site::build(&single_ports(Some(200))).unwrap();
    let _servers = serve(&site, &[1, 2]);
    within(&site, BALANCER, move || async move {
        let balancer = Balancer::start(config(SINGLE, 2), true).await;
        assert_eq!(balancer.network.borrow().locate(own_address(1, false)).unwrap().vlan, 200);
        each_server_is_reached(&balancer, 2, 5).await;
        balancer.end().await;
    });
}

#[test]
fn a_server_in_a_vlan_of_the_bridge_is_probed_with_its_tag() {
    where_there_are_vlans(
        "traffic::dsr_probe::a_server_in_a_vlan_of_the_bridge_is_probed_with_its_tag",
        probe_a_server_in_a_vlan_of_the_bridge,
    );
}

fn probe_a_server_in_a_vlan_of_the_bridge() {
    let mut plan = mail::plan(2);
    // pc1's addresses, and the balancer's beside them, move into VLAN 200.
    for (host, device, four, six) in
        [("pc1", "eth0", "10.1.0.11/24", "fd00:1::11/64"), (BALANCER, "br0", "10.1.0.3/32", "fd00:1::3/128")]
    {
        if host == "pc1" {
            plan.ip(host, &format!("addr del {four} dev {device}")).ip(host, &format!("addr del {six} dev {device}"));
        }
        plan.ip(host, &format!("link add link {device} name {device}.200 type vlan id 200"));
        plan.ip(host, &format!("link set {device}.200 up"));
        plan.ip(host, &format!("addr add {four} dev {device}.200"));
        plan.ip(host, &format!("addr add {six} dev {device}.200 nodad"));
    }
    plan.ip(BALANCER, "route add 10.1.0.11/32 dev br0.200 src 10.1.0.3");
    plan.ip(BALANCER, "-6 route add fd00:1::11/128 dev br0.200 src fd00:1::3");
    for table in ["", " table 100"] {
        plan.ip("pc1", &format!("route replace 10.1.0.0/24 dev eth0.200{table}"));
        plan.ip("pc1", &format!("-6 route replace fd00:1::/64 dev eth0.200{table}"));
    }
    let site = Site::build(&plan).unwrap();
    let _servers = serve(&site, &[1, 2]);
    within(&site, BALANCER, move || async move {
        let balancer = Balancer::start(config(&bridge(2), 2), true).await;
        assert_eq!(balancer.network.borrow().locate(own_address(1, false)).unwrap().vlan, 200);
        for v6 in [false, true] {
            for n in [1, 2] {
                // Two segments: the source is that of the way to the server, as the executor must bind it.
                let source = balancer.route.way_to(own_address(n, v6)).await.unwrap().unwrap().source.unwrap();
                let bind = |socket: &socket2::Socket| socket.bind(&SocketAddr::new(source, 0).into());
                let answered = probe_with(balancer.mark(n, v6), at(v6), ANSWER, bind).await;
                assert_eq!(answered.as_deref().ok(), Some(format!("pc{n}").as_str()), "{answered:?}, {v6}, {source}");
            }
        }
        balancer.end().await;
    });
}

#[test]
fn the_frame_of_a_probe_has_the_macs_and_the_tag_of_its_place_and_one_hop_to_go() {
    let site = Site::build(&single_ports(None)).unwrap();
    let wire = Wire::open(site.host("pc1").unwrap(), "eth0");
    within(&site, BALANCER, move || async move {
        let balancer = Balancer::start(config(SINGLE, 2), true).await;
        let (port, own) = balancer.network.borrow().link_named("p1").map(|(index, link)| (index, link.mac)).unwrap();
        let to = Mac(mac("02:00:00:00:03:01"));
        let mut dataplane = balancer.dataplane;
        for (v6, vlan) in [(false, 0), (false, 200), (true, 0), (true, 4094)] {
            let place = ProbePlace { to: Place { mac: to, port, vlan }, own };
            let mark = PROBE_MARK | 7;
            dataplane.set_probe_places(&BTreeMap::from([(mark, place)])).unwrap();
            let lost = probe(mark, at(v6), Duration::from_millis(50)).await;
            assert_eq!(lost.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
            let mut wanted = [to.0, own.0].concat();
            if vlan != 0 {
                wanted.extend([0x8100_u16.to_be_bytes(), u16::to_be_bytes(vlan)].concat());
            }
            wanted.extend(if v6 { 0x86dd_u16 } else { 0x0800 }.to_be_bytes());
            let frame = wire.expect("the probe", |frame| (frame.starts_with(&to.0)).then(|| frame.to_vec()));
            assert_eq!(frame[..wanted.len()], wanted, "{frame:02x?}");
            let ip = &frame[wanted.len()..];
            let (hops, destination): (u8, IpAddr) = if v6 {
                (ip[7], <[u8; 16]>::try_from(&ip[24..40]).unwrap().into())
            } else {
                (ip[8], <[u8; 4]>::try_from(&ip[16..20]).unwrap().into())
            };
            assert_eq!((hops, destination), (1, vip(v6)));
        }
        balancer.route.remove().await.unwrap();
    });
}

#[test]
fn the_standby_probes_servers_behind_the_owner_who_only_switches_its_frames() {
    let mut plan = mail::plan(2);
    plan.cable("lb1:xc", "lb2:xc");
    plan.ip(BALANCER, "link set xc addrgenmode none").ip(BALANCER, "link set xc master br0");
    plan.bridge("lb2:br0", "02:00:00:00:02:02", &["xc"]);
    plan.address("lb2:br0", "192.0.2.3/24").address("lb2:br0", "2001:db8::3/64");
    plan.address("lb2:br0", "10.1.0.3/24").address("lb2:br0", "fd00:1::3/64");
    let site = Site::build(&plan).unwrap();
    let _servers = serve(&site, &[1, 2]);
    let owner = format!("{{bridge: br0, ports: [up0, p1, p2, xc], mac: \"{}\"}}", mail::BALANCER_MAC);
    let standby_host = site.host("lb2").unwrap().clone();
    within(&site, BALANCER, move || async move {
        let owner = Balancer::start(config(&owner, 2), true).await;
        let standby = standby_host.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let interfaces = "{bridge: br0, ports: [xc], mac: \"02:00:00:00:02:02\"}";
                let standby = Balancer::start(config(interfaces, 2), false).await;
                each_server_is_reached(&standby, 2, 25).await;
                standby.end().await;
            });
        });
        standby.join().unwrap().unwrap();
        assert_eq!(owner.count("to-server"), 0, "the owner took no probe for a customer");
        assert!(owner.count("switched") >= 100 * 3, "{}", owner.count("switched"));
        owner.end().await;
    });
}

#[test]
fn the_cost_of_a_probe_does_not_grow_with_the_number_of_servers() {
    const SERVERS: u32 = 500;
    let site = Site::build(&mail::plan(1)).unwrap();
    let _servers = serve(&site, &[1]);
    let host = site.host(BALANCER).unwrap().clone();
    within(&site, BALANCER, move || async move {
        let mut balancer = Balancer::start(config(&bridge(1), 1), true).await;
        let rules = ip(&host, "rule");
        let mark = balancer.mark(1, false);
        let median = async || {
            let mut times = Vec::new();
            for _ in 0..200 {
                let started = Instant::now();
                assert_eq!(probe(mark, at(false), ANSWER).await.unwrap(), "pc1");
                times.push(started.elapsed());
            }
            times.sort();
            times[times.len() / 2]
        };
        let place = balancer.network.borrow().locate(own_address(1, false)).unwrap();
        let own = Mac([2, 0, 0, 0, 1, 1]);
        let one = BTreeMap::from([(mark, ProbePlace { to: place, own })]);
        let elsewhere = Place { mac: Mac([2, 0, 0, 0, 9, 9]), ..place };
        let mut many: BTreeMap<u32, ProbePlace> =
            (1_000..1_000 + SERVERS).map(|n| (PROBE_MARK | n, ProbePlace { to: elsewhere, own })).collect();
        many.extend(one.clone());
        balancer.dataplane.set_probe_places(&one).unwrap();
        let alone = median().await;
        let started = Instant::now();
        balancer.dataplane.set_probe_places(&many).unwrap();
        let set = started.elapsed();
        let among = median().await;
        println!("median of a probe: {alone:?} alone, {among:?} among {SERVERS} (set in {set:?})");
        assert_eq!(ip(&host, "rule"), rules, "one rule, however many servers");
        // Among busy neighbours a bound on time says little; a list of 500 rules costs less than this, too.
        assert!(among < alone * 4 + Duration::from_millis(5), "{alone:?}, {among:?}");
        balancer.end().await;
    });
}
