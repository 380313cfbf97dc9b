//! `lbd run` with a bridge that it manages.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lbd::lab::{Host, Plan, Process, Site};

use super::stage::*;

const LBD: &str = env!("CARGO_BIN_EXE_lbd");
const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// On a machine that builds other things meanwhile.
const START: Duration = Duration::from_secs(30);
/// The watcher's 20 ms, and the time of a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// A client behind a router, a balancer, a PC whose gateway is the balancer's floating inside address.
fn balanced_site() -> Site {
    let mut plan = Plan::new();
    plan.router("router");
    plan.cable("client:eth0", "router:out0").cable("router:in0", "lb1:up0");
    plan.cable("lb1:p1", "pc1:eth0").cable("lb1:p2", "pc2:eth0");
    plan.address("client:eth0", "203.0.113.10/24").ip("client", "route add default via 203.0.113.1");
    plan.address("router:out0", "203.0.113.1/24").address("router:in0", "10.1.0.254/24");
    plan.address("pc1:eth0", "10.1.0.11/24").ip("pc1", "route add default via 10.1.0.1");
    plan.address("pc2:eth0", "10.1.0.12/24");
    Site::build(&plan).expect("these tests need root, and network namespaces")
}

fn config(ports: &str) -> String {
    format!(
        "hostname: lb1\ninterfaces:\n  bridge: br0\n  manage: true\n  mac: \"{LB1}\"\n  ports: [{ports}]\n  \
         addresses: [10.1.0.2/24]\n  inside: [10.1.0.1/24]\n"
    )
}

fn run(site: &Site, path: &Path) -> Process {
    let dir = site.dir();
    let output = File::create(dir.join("lb1.log")).unwrap();
    let mut command = site.host("lb1").unwrap().command(LBD);
    command.arg("run").arg("--config").arg(path);
    command.arg("--state-dir").arg(dir.join("state")).arg("--run-dir").arg(dir.join("run"));
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command.stdout(output.try_clone().unwrap()).stderr(output);
    site.start("lb1", command).unwrap()
}

fn until(site: &Site, patience: Duration, what: &str, so: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !so() {
        let log = || std::fs::read_to_string(site.dir().join("lb1.log")).unwrap_or_default();
        assert!(begun.elapsed() < patience, "not in {patience:?}: {what}\n{}", log());
        std::thread::sleep(Duration::from_millis(10));
    }
    begun.elapsed()
}

/// The ports of br0, and its addresses.
fn bridge(host: &Host) -> Option<(Vec<String>, Vec<String>)> {
    let now = seen(host);
    let (index, link) = now.links.iter().find(|(_, link)| link.name == "br0")?;
    let ports = now.links.values().filter(|port| port.master == Some(*index) && port.up && link.up);
    let mut ports: Vec<String> = ports.map(|port| port.name.clone()).collect();
    ports.sort_unstable();
    let addresses = now.addresses.iter().filter(|address| address.link == *index && address.prefix.address.is_ipv4());
    Some((ports, addresses.map(|address| address.prefix.to_string()).collect()))
}

fn is(host: &Host, ports: &[&str], addresses: &[&str]) -> bool {
    bridge(host).is_some_and(|(p, a)| p == ports && a == addresses)
}

#[test]
fn the_daemon_makes_its_bridge_keeps_it_follows_the_configuration_and_leaves_it_when_it_ends() {
    let site = balanced_site();
    let lb1 = site.host("lb1").unwrap();
    let path = site.dir().join("lb1.yaml");
    std::fs::write(&path, config("up0, p1, p2")).unwrap();
    let mut process = run(&site, &path);
    until(&site, START, "the bridge is there", || is(lb1, &["p1", "p2", "up0"], &["10.1.0.2/24"]));

    // A server behind NAT speaks to the outside by itself: it asks for its gateway, which the data plane answers
    // for, and sends to the box's MAC; the kernel takes it in at the bridge and forwards it.
    site.ip("lb1", "route add default via 10.1.0.254").unwrap();
    let _echo = Echo::on(site.host("client").unwrap());
    let pc1 = site.host("pc1").unwrap();
    until(&site, START, "pc1 reaches the client", || talks(pc1, CLIENT, Duration::from_millis(200)));
    let neighbours = said(pc1, "ip neigh show 10.1.0.1");
    assert!(neighbours.contains(&LB1.to_string()), "{neighbours}");
    assert!(!said(lb1, "ip -o addr show").contains("10.1.0.1/"), "the inside address is on no interface");
    assert!(!said(pc1, "ip route get 203.0.113.10").contains("10.1.0.254"), "no redirect past the balancer");

    // Somebody deletes the bridge, removes an address, takes a port out; a port goes and comes again.
    site.ip("lb1", "link del br0").unwrap();
    let back = until(&site, SOON, "the bridge is back", || is(lb1, &["p1", "p2", "up0"], &["10.1.0.2/24"]));
    println!("a deleted bridge was back after {back:?}");
    site.ip("lb1", "link set p2 nomaster").unwrap();
    until(&site, SOON, "p2 is back in the bridge", || is(lb1, &["p1", "p2", "up0"], &["10.1.0.2/24"]));
    site.ip("lb1", "link del p2").unwrap();
    until(&site, SOON, "p2 is gone", || is(lb1, &["p1", "up0"], &["10.1.0.2/24"]));
    site.ip("lb1", "link add p2 type veth peer name p2x\nlink set p2x up").unwrap();
    until(&site, SOON, "another p2 has joined", || is(lb1, &["p1", "p2", "up0"], &["10.1.0.2/24"]));
    site.ip("lb1", "addr del 10.1.0.2/24 dev br0").unwrap();
    until(&site, Duration::from_secs(20), "the address is back", || is(lb1, &["p1", "p2", "up0"], &["10.1.0.2/24"]));

    // The configuration forgets p2; what others have added stays.
    site.ip("lb1", "link add f0 type veth peer name f0x\nlink set f0 master br0 up\naddr add 192.0.2.9/24 dev br0")
        .unwrap();
    std::fs::write(&path, config("up0, p1")).unwrap();
    process.signal(nix::sys::signal::Signal::SIGHUP).unwrap();
    until(&site, SOON, "p2 has left", || is(lb1, &["f0", "p1", "up0"], &["10.1.0.2/24", "192.0.2.9/24"]));

    // The daemon ends; the switch goes on, and the next daemon finds nothing to do.
    assert!(process.ended().unwrap().is_none());
    process.stop().unwrap();
    assert!(is(lb1, &["f0", "p1", "up0"], &["10.1.0.2/24", "192.0.2.9/24"]));
    let _echo = Echo::on(site.host("router").unwrap());
    assert!(talks(pc1, ROUTER, PATIENCE));
    let mut process = run(&site, &path);
    let log = || std::fs::read_to_string(site.dir().join("lb1.log")).unwrap_or_default();
    until(&site, START, "the next daemon runs", || log().contains("HTTP on"));
    assert!(!log().contains("the switch:"), "{}", log());
    assert!(process.ended().unwrap().is_none());
}
