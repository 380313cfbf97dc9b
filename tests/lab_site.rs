//! The lab's site and its servers, without a balancer: they are the stage of the other
//! end-to-end tests, so they are proven first. Needs root.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lbd::lab::claim::{self, namespaces_of};
use lbd::lab::customer::{self, Tally, Visit};
use lbd::lab::mail::{self, BALANCER, CLIENT, MailSite, OFFERS, ROUTER};
use lbd::lab::servers::md5::Md5;
use lbd::lab::servers::{Kind, http};
use lbd::lab::window::Window;
use lbd::lab::{Plan, Site};
use nix::sys::signal::{Signal, kill};

const LBD: &str = env!("CARGO_BIN_EXE_lbd");

/// The gateway of NAT servers, which is the data plane's to answer for, given to the host instead.
fn kernel_plays_gateway(site: &Site) {
    site.ip(BALANCER, "addr add 10.1.0.1/24 dev br0\naddr add fd00:1::1/64 dev br0 nodad\n").unwrap();
}

/// The site with its servers, and routes in place of the balancer: every virtual IP leads to one PC, as DSR would.
fn site_with_routes() -> MailSite {
    let lab = MailSite::start(Path::new(LBD)).unwrap();
    kernel_plays_gateway(&lab.site);
    for offer in OFFERS {
        let pc = if offer.servers()[0] == "pc1" { 1 } else { 2 };
        for (vip, pc) in [
            (offer.address4().ip(), IpAddr::from(mail::pc_address(pc))),
            (offer.address6().ip(), mail::pc_address6(pc).into()),
        ] {
            lab.site.ip(ROUTER, &format!("route replace {vip} via {pc}\n")).unwrap();
        }
    }
    lab
}

fn visit(lab: &MailSite, visit: Visit) -> Tally {
    lab.site.host(CLIENT).unwrap().block_on(move || customer::visit(visit, |_| {})).unwrap()
}

#[test]
fn a_site_of_24_ports_is_up_in_less_than_ten_seconds_and_all_its_hosts_reach_each_other() {
    let start = Instant::now();
    let site = Site::build(&mail::plan(23)).unwrap();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    kernel_plays_gateway(&site);
    let mut targets: Vec<IpAddr> = Vec::new();
    for text in ["203.0.113.10", "203.0.113.50", "10.1.0.2", "10.1.0.254", "2001:db8:c::10", "fd00:1::2", "fd00:1::254"]
    {
        targets.push(text.parse().unwrap());
    }
    for n in 1..=23 {
        targets.push(mail::pc_address(n).into());
        targets.push(mail::pc_address6(n).into());
    }
    for host in site.hosts() {
        let targets = targets.clone();
        // Nobody listens on that port: a host that is reached says so at once.
        let reached = |target: &IpAddr| {
            let result = TcpStream::connect_timeout(&(*target, 9).into(), Duration::from_secs(2));
            result.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        };
        let not = host.enter(move || targets.into_iter().filter(|t| !reached(t)).collect::<Vec<_>>()).unwrap();
        assert_eq!(not, Vec::<IpAddr>::new(), "not reached from {}", host.name());
    }
}

#[test]
fn every_cable_end_is_ready_for_xdp_and_the_bridge_has_its_one_mac() {
    let site = Site::build(&mail::plan(2)).unwrap();
    let said = |host: &str, program: &str, args: &[&str]| {
        let output = site.host(host).unwrap().command(program).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for (host, device) in
        [("client", "eth0"), ("router", "cust"), ("router", "lan"), ("lb1", "up0"), ("lb1", "p2"), ("pc2", "eth0")]
    {
        let text = said(host, "ethtool", &["-k", device]);
        assert!(text.contains("generic-receive-offload: on"), "{host}:{device} {text}");
        assert!(text.contains("tx-checksumming: off"), "{host}:{device} {text}");
    }
    assert!(said("lb1", "ip", &["-o", "link", "show", "br0"]).contains(mail::BALANCER_MAC));
}

#[test]
fn every_responder_names_itself_in_both_address_families_over_dsr_routes() {
    let lab = site_with_routes();
    for offer in OFFERS {
        for target in [offer.address4(), offer.address6()] {
            let customers = mail::customers(target.is_ipv6());
            let mut many = Visit::new(offer.kind, target).times(300).from(customers.clone());
            many.udp = offer.udp;
            let tally = visit(&lab, many);
            assert_eq!(tally.of(offer.servers()[0]), 300, "{offer:?} at {target}: {tally:?}");
            assert!(tally.seen_as.iter().all(|seen| customers.contains(seen)), "{tally:?}");
            let tells = !matches!(offer.kind, Kind::Dns | Kind::Radius);
            assert_eq!(tally.seen_as.len(), if tells { 200 } else { 0 }, "{offer:?}");
        }
    }
}

#[test]
fn answers_from_a_virtual_ip_go_by_the_router_and_those_from_the_own_address_by_the_balancer() {
    let lab = site_with_routes();
    let route = |from: &str, to: &str| {
        let output = lab.site.host("pc1").unwrap().command("ip").args(["route", "get", to, "from", from]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert!(route("192.0.2.25", "203.0.113.10").contains("via 10.1.0.254 "));
    assert!(route("10.1.0.11", "203.0.113.10").contains("via 10.1.0.1 "));
    assert!(route("2001:db8::25", "2001:db8:c::10").contains("via fd00:1::254 "));
    assert!(route("fd00:1::11", "2001:db8:c::10").contains("via fd00:1::1 "));
    // A probe of the balancer is answered on the wire.
    for to in ["192.0.2.2", "10.1.0.2"] {
        let text = route("192.0.2.25", to);
        assert!(text.contains("dev eth0") && !text.contains("via"), "{text}");
    }
    // The servers' own addresses are reached through the box.
    let tally = visit(&lab, Visit::new(Kind::Smtp, SocketAddr::from((mail::pc_address(3), 25))).times(10));
    assert_eq!(tally.of("pc3"), 10, "{tally:?}");
}

#[test]
fn no_server_answers_arp_or_neighbour_discovery_for_a_virtual_ip() {
    let lab = MailSite::start(Path::new(LBD)).unwrap();
    for target in OFFERS.iter().flat_map(|offer| [offer.address4(), offer.address6()]) {
        let mut one = Visit::new(Kind::Smtp, target);
        one.timeout = Duration::from_millis(300);
        assert_eq!(visit(&lab, one).served_count(), 0, "{target}");
    }
    let neighbours = lab.site.host(ROUTER).unwrap().command("ip").args(["neigh", "show"]).output().unwrap();
    let text = String::from_utf8(neighbours.stdout).unwrap();
    for vip in ["192.0.2.25 ", "2001:db8::25 "] {
        let line = text.lines().find(|line| line.starts_with(vip)).unwrap_or_else(|| panic!("no {vip} in {text}"));
        assert!(["INCOMPLETE", "FAILED"].iter().any(|state| line.trim_end().ends_with(state)), "{line}");
    }
}

#[test]
fn twenty_megabytes_arrive_unchanged_both_ways() {
    const SIZE: u64 = 20_000_000;
    let lab = site_with_routes();
    let expected = http::bytes_digest(SIZE);
    for target in ["192.0.2.80:80", "[2001:db8::80]:80"] {
        let address: SocketAddr = target.parse().unwrap();
        let (down, up) = lab.site.host(CLIENT).unwrap().enter(move || transfer(address, SIZE)).unwrap();
        assert_eq!(down, expected, "from {target}");
        assert_eq!(up, expected, "to {target}");
    }
}

/// Fetches so many bytes and sends them back: both digests.
fn transfer(target: SocketAddr, size: u64) -> (String, String) {
    let mut stream = TcpStream::connect(target).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    write!(stream, "GET /bytes/{size} HTTP/1.1\r\nHost: lab\r\n\r\n").unwrap();
    skip_headers(&mut reader);
    let mut body = vec![0; size as usize];
    reader.read_exact(&mut body).unwrap();
    let mut down = Md5::new();
    down.update(&body);

    let length = format!("Content-Length: {size}\r\nConnection: close");
    write!(stream, "POST / HTTP/1.1\r\nHost: lab\r\n{length}\r\n\r\n").unwrap();
    stream.write_all(&body).unwrap();
    skip_headers(&mut reader);
    let mut up = String::new();
    reader.read_to_string(&mut up).unwrap();
    (down.hex(), up.trim().to_owned())
}

fn skip_headers(reader: &mut impl BufRead) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    while line != "\r\n" {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the headers have an end");
    }
}

#[test]
fn a_server_serves_two_thousand_connections_at_once() {
    let lab = site_with_routes();
    let client = lab.site.host(CLIENT).unwrap();
    lbd::lab::process::raise_file_limit().unwrap();
    let many = Visit::new(Kind::Imap, OFFERS[2].address4()).times(2_000);
    let held = client.block_on(move || customer::hold(many)).unwrap().unwrap();
    let (held, tally) = client.block_on(move || customer::check(held, Duration::from_secs(5))).unwrap();
    assert_eq!((held.len(), tally.of("pc2"), tally.failed_count()), (2_000, 2_000, 0), "{tally:?}");
}

#[test]
fn a_server_can_be_stopped_killed_and_started_again() {
    let mut lab = site_with_routes();
    let visit = |lab: &MailSite, timeout_ms| {
        let mut ten = Visit::new(Kind::Smtp, OFFERS[0].address4()).times(10);
        ten.timeout = Duration::from_millis(timeout_ms);
        visit(lab, ten)
    };
    assert_eq!(visit(&lab, 5_000).of("pc1"), 10);
    let pid = lab.server("pc1").unwrap().pid();
    lab.server("pc1").unwrap().signal(Signal::SIGSTOP).unwrap();
    // Its threads stop one by one, and may serve somebody until they have.
    let stopped = |task: std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.contains(") T "))
    };
    while !std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|task| stopped(task.unwrap())) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(visit(&lab, 300).failed.get("timed out"), Some(&10), "stopped");
    lab.server("pc1").unwrap().signal(Signal::SIGCONT).unwrap();
    assert_eq!(visit(&lab, 5_000).of("pc1"), 10, "continued");
    lab.server("pc1").unwrap().kill().unwrap();
    assert_eq!(visit(&lab, 5_000).failed.get("refused"), Some(&10), "killed");
    lab.start_server("pc1").unwrap();
    assert_eq!(visit(&lab, 5_000).of("pc1"), 10, "started again");
}

#[test]
fn two_sites_at_once_do_not_meet() {
    let (one, two) = (site_with_routes(), MailSite::start(Path::new(LBD)).unwrap());
    assert_ne!(one.site.id(), two.site.id());
    let ask = |lab: &MailSite| {
        let mut ten = Visit::new(Kind::Smtp, OFFERS[0].address4()).times(10);
        ten.timeout = Duration::from_millis(300);
        visit(lab, ten)
    };
    assert_eq!(ask(&one).of("pc1"), 10);
    assert_eq!(ask(&two).served_count(), 0, "the same address in the other site, where nothing leads to a server");
    drop(two);
    assert_eq!(ask(&one).of("pc1"), 10, "the end of one is of no concern to the other");
}

#[test]
fn a_site_that_is_dropped_leaves_nothing() {
    let lab = MailSite::start(Path::new(LBD)).unwrap();
    let id = lab.site.id().to_owned();
    assert_eq!(namespaces_of(&id).unwrap().len(), 7);
    drop(lab);
    assert_nothing_is_left(&id);
}

#[test]
fn a_panic_leaves_nothing() {
    let (told, heard) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let lab = MailSite::start(Path::new(LBD)).unwrap();
        told.send(lab.site.id().to_owned()).unwrap();
        panic!("as intended, with a lab of {} hosts", lab.site.hosts().count());
    });
    assert!(thread.join().is_err());
    assert_nothing_is_left(&heard.recv().unwrap());
}

#[test]
fn an_error_while_a_site_is_built_names_the_line_and_leaves_nothing() {
    let mut plan = Plan::new();
    plan.cable("left:eth0", "right:eth0").ip("right", "route add default via 198.51.100.1");
    let error = Site::build(&plan).unwrap_err().to_string();
    assert!(error.contains("route add default via 198.51.100.1"), "{error}");
    let namespaces = std::fs::read_dir("/run/netns").unwrap().flatten().map(|entry| entry.file_name());
    let mine = |name: &str| name.starts_with(&format!("lbd-{}", std::process::id())) && name.ends_with("-left");
    assert_eq!(namespaces.filter(|name| mine(&name.to_string_lossy())).count(), 0);
}

#[test]
fn an_interface_without_a_host_is_refused_by_name() {
    let mut plan = Plan::new();
    plan.cable("left", "right:eth0");
    let error = Site::build(&plan).unwrap_err().to_string();
    assert!(error.contains("\"left\"") && error.contains("host:interface"), "{error}");
}

/// A lab in a process of its own, up.
fn lab_of_another_process() -> (Child, String, Vec<i32>) {
    let mut owner = Command::new(LBD).args(["lab", "--bare"]).stdout(Stdio::piped()).spawn().unwrap();
    let id = owner.id().to_string();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("Ctrl-C takes everything down")));
    let namespaces = namespaces_of(&id).unwrap();
    assert_eq!(namespaces.len(), 7);
    let servers = claim::processes_in(&namespaces).unwrap();
    assert_eq!(servers.len(), 4, "one for each PC");
    (owner, id, servers)
}

#[test]
fn what_a_killed_owner_leaves_is_removed_by_the_next_start() {
    let (mut owner, id, servers) = lab_of_another_process();
    // A process that escaped from its owner's death, a mount and a pin: what a balancer would leave.
    let network = format!("--net=/run/netns/lbd-{id}-lb1");
    let mut stray = Command::new("nsenter").arg(network).args(["sleep", "600"]).spawn().unwrap();
    wait_until("the stray is inside", || {
        claim::processes_in(&namespaces_of(&id).unwrap()).unwrap().contains(&(stray.id() as i32))
    });
    let bpffs = directory(&id).join("lb1-run/bpf");
    std::fs::create_dir_all(&bpffs).unwrap();
    nix::mount::mount(Some("bpf"), &bpffs, Some("bpf"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    std::fs::create_dir(bpffs.join("pins")).unwrap();

    owner.kill().unwrap();
    owner.wait().unwrap();
    // Another test's start may already be clearing it away, so that what is left is not counted here:
    // that nothing of it goes by itself is what the stray shows, which nobody but a sweep ends.
    let site = Site::build(&mail::plan(1)).unwrap();
    let end = stray.wait().unwrap();
    assert!(!end.success(), "{end}");
    assert_eq!(alive(&servers), Vec::<i32>::new());
    // The sweep of another test holds the lock until it is through.
    wait_until("the sweep is through", || !lock(&id).exists());
    assert_nothing_is_left(&id);
    drop(site);
}

#[test]
fn ctrl_c_takes_everything_down() {
    let (mut owner, id, servers) = lab_of_another_process();
    kill(nix::unistd::Pid::from_raw(owner.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(owner.wait().unwrap().code(), Some(130));
    assert_eq!(alive(&servers), Vec::<i32>::new());
    assert_nothing_is_left(&id);
}

fn wait_until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "not in ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn directory(id: &str) -> PathBuf {
    Path::new("/run/lbd-lab").join(id)
}

fn lock(id: &str) -> PathBuf {
    Path::new("/run/lbd-lab").join(format!("{id}.lock"))
}

/// Those that still run.
fn alive(pids: &[i32]) -> Vec<i32> {
    let runs = |pid: &&i32| std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok();
    pids.iter().filter(runs).copied().collect()
}

/// No namespace, file or mount.
fn assert_nothing_is_left(id: &str) {
    assert_eq!(namespaces_of(id).unwrap(), Vec::<PathBuf>::new());
    assert!(!directory(id).exists());
    assert!(!lock(id).exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let traces = [format!("/lbd-lab/{id}/"), format!("/lbd-{id}-")];
    assert!(!traces.iter().any(|trace| mounts.contains(trace)), "{mounts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_shows_what_is_inside_and_only_that() {
    let mut plan = Plan::new();
    plan.cable("inside:eth0", "other:eth0");
    let site = Site::build(&plan).unwrap();
    let (inside, other) = (site.host("inside").unwrap().clone(), site.host("other").unwrap().clone());
    let listener = inside.enter(|| std::net::TcpListener::bind("127.0.0.1:8080").unwrap()).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(format!("inside heard {line}").as_bytes()).unwrap();
        }
    });
    let said = |at: SocketAddr| {
        move || {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            // One that is ended at once may be so before anything is written.
            let _ = stream.write_all(b"hello\n");
            let mut said = String::new();
            let _ = stream.read_to_string(&mut said);
            said
        }
    };
    let (window, blind) = (Window::open().await.unwrap(), Window::open().await.unwrap());
    let (at, at_nothing) = (window.address(), blind.address());
    assert!(at.ip().is_loopback() && at != at_nothing, "{at} {at_nothing}");
    tokio::spawn(window.show(inside));
    tokio::spawn(blind.show(other));
    let ask = |at: SocketAddr| tokio::task::spawn_blocking(said(at));
    let all: Vec<_> = (0..100).map(|_| ask(at)).collect();
    for one in all {
        assert_eq!(one.await.unwrap(), "inside heard hello\n");
    }
    assert_eq!(ask(at_nothing).await.unwrap(), "", "nobody listens there, and the connection just ends");
}
