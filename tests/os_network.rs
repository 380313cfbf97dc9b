//! The operating-system room against a real kernel: network namespaces, veth,
//! bridges. Needs root; every namespace is the test's own.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lbd::config::Mac;
use lbd::core::network::{IfIndex, LinkKind, Neighbour, Network, Nowhere};
use lbd::os::OsError;
use lbd::os::arp::FrameSender;
use lbd::os::ethtool::{Ethtool, xdp_losses};
use lbd::os::netlink::{self, Handle, NotDirect, Options};
use lbd::os::netns;
use tokio::sync::watch;

const SERVER4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const SERVER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const NEW_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x99]);
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 0x42]);
/// How soon a change in the kernel must show.
const SOON: Duration = Duration::from_secs(1);
/// For what takes a conversation on the wire, too.
const RESOLVED: Duration = Duration::from_secs(5);

/// A balancer's namespace with the bridge `br0`, and a server's behind the port `p1`.
struct Site {
    balancer: String,
    server: String,
}

impl Site {
    fn new(tag: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces: run them as root (`sudo -E make test`)"
        );
        let name = |role| format!("lbd-t{}-{tag}-{role}", std::process::id());
        let site = Self { balancer: name("b"), server: name("s") };
        run("ip", &["netns", "add", &site.balancer]);
        run("ip", &["netns", "add", &site.server]);
        site.ip("link add br0 address 02:00:00:00:00:fe type bridge");
        site.ip("link set br0 up");
        site.ip("addr add 192.0.2.254/24 brd + dev br0");
        site.ip("addr add 2001:db8::fe/64 dev br0 nodad");
        site.ip(&format!("link add p1 type veth peer name eth0 address {SERVER_MAC} netns {}", site.server));
        site.ip("link set p1 master br0 up");
        site.server_ip("link set eth0 up");
        site.server_ip("addr add 192.0.2.1/24 dev eth0");
        site.server_ip("addr add 2001:db8::1/64 dev eth0 nodad");
        site
    }

    fn ip(&self, command: &str) {
        run_in("ip", &self.balancer, command);
    }

    fn server_ip(&self, command: &str) {
        run_in("ip", &self.server, command);
    }

    fn bridge(&self, command: &str) {
        run_in("bridge", &self.balancer, command);
    }

    /// A second port, with nobody behind it.
    fn add_port(&self, name: &str) {
        self.ip(&format!("link add {name} type veth peer name {name}x"));
        self.ip(&format!("link set {name}x up"));
        self.ip(&format!("link set {name} master br0 up"));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for name in [&self.balancer, &self.server] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn run_in(program: &str, namespace: &str, command: &str) -> String {
    let arguments: Vec<&str> = ["-n", namespace].into_iter().chain(command.split_whitespace()).collect();
    run(program, &arguments)
}

/// Runs something in a namespace, on a thread of its own.
fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let run = || {
        netns::enter(namespace).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs something asynchronous in a namespace, on a thread and a runtime of its own.
fn inside_async<F: Future>(namespace: &str, work: impl FnOnce() -> F + Send)
where
    F::Output: Send,
{
    inside(namespace, || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work()));
}

/// Announces addresses on a port, from a namespace.
fn announce(namespace: &str, port: &str, mac: Mac, addresses: &[IpAddr]) {
    inside(namespace, || {
        let sender = FrameSender::open().unwrap();
        let port = nix::net::if_::if_nametoindex(port).unwrap();
        for address in addresses {
            sender.announce(port, 0, mac, *address).unwrap();
        }
    });
}

type Snapshots = watch::Receiver<Arc<Network>>;

/// Waits for a snapshot; returns the time it took.
async fn see(network: &mut Snapshots, limit: Duration, what: &str, is_so: impl Fn(&Network) -> bool) -> Duration {
    let started = Instant::now();
    let seen = tokio::time::timeout(limit, network.wait_for(|now| is_so(now))).await.is_ok_and(|seen| seen.is_ok());
    assert!(seen, "{what}: not seen within {limit:?}; the last snapshot is {:#?}", network.borrow());
    started.elapsed()
}

/// Without the guard of the periodic dump, which would hide an event that was missed.
fn by_events_alone() -> Options {
    Options { dump_every: Duration::from_secs(3600), ..Options::default() }
}

async fn follow(options: Options) -> (Snapshots, Handle) {
    netlink::watch(options).await.unwrap()
}

fn index(network: &Snapshots, name: &str) -> IfIndex {
    network.borrow().link_named(name).unwrap_or_else(|| panic!("no link {name}")).0
}

#[test]
fn wanted_addresses_get_a_neighbour_entry_and_a_place_in_both_families() {
    let site = Site::new("want");
    inside_async(&site.balancer, || async {
        let (mut network, handle) = follow(by_events_alone()).await;
        let (port, bridge) = (index(&network, "p1"), index(&network, "br0"));
        assert_eq!(network.borrow().locate(SERVER4), Err(Nowhere::NoNeighbour));
        handle.set_wanted(vec![SERVER4, SERVER6]);
        for address in [SERVER4, SERVER6] {
            see(&mut network, RESOLVED, "the server's place", |now| {
                now.locate(address).is_ok_and(|place| place.port == port && place.mac == SERVER_MAC)
            })
            .await;
            let routes = handle.routes().wait_for(|routes| routes.contains_key(&address)).await.unwrap().clone();
            assert_eq!(routes[&address], Ok(bridge));
        }
        assert!(network.borrow().links[&port].running);
    });
}

#[test]
fn a_wanted_entry_that_was_flushed_comes_back_by_itself() {
    let site = Site::new("flush");
    inside_async(&site.balancer, || async {
        let options = Options { refresh_every: Duration::from_secs(2), ..by_events_alone() };
        let (mut network, handle) = follow(options).await;
        handle.set_wanted(vec![SERVER4]);
        let there = |now: &Network| now.neighbours.contains_key(&SERVER4);
        see(&mut network, RESOLVED, "the entry", there).await;
        site.ip("neigh flush dev br0");
        see(&mut network, SOON, "its end", |now| !there(now)).await;
        see(&mut network, RESOLVED, "its return", there).await;
    });
}

#[test]
fn a_server_that_changes_its_mac_and_announces_it_is_followed_within_a_second() {
    let site = Site::new("mac");
    inside_async(&site.balancer, || async {
        let (mut network, handle) = follow(by_events_alone()).await;
        handle.set_wanted(vec![SERVER4, SERVER6]);
        let located = |now: &Network| now.locate(SERVER4).is_ok() && now.locate(SERVER6).is_ok();
        see(&mut network, RESOLVED, "the server's place", located).await;
        site.server_ip(&format!("link set eth0 address {NEW_MAC}"));
        announce(&site.server, "eth0", NEW_MAC, &[SERVER4, SERVER6]);
        for address in [SERVER4, SERVER6] {
            let follows = |now: &Network| now.locate(address).is_ok_and(|place| place.mac == NEW_MAC);
            println!("{address}: {:?}", see(&mut network, SOON, "the new MAC", follows).await);
        }
    });
}

#[test]
fn an_announcement_updates_the_peers_neighbour_entry() {
    let site = Site::new("garp");
    let vips: [IpAddr; 2] = ["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()];
    // The server has entries of an old owner; the balancer, as the new one, announces.
    for vip in vips {
        site.server_ip(&format!("neigh add {vip} lladdr 02:00:00:00:00:77 dev eth0 nud reachable"));
    }
    inside_async(&site.server, || async {
        let (mut network, _handle) = follow(by_events_alone()).await;
        let mac_of = |now: &Network, vip| now.neighbours.get(&vip).map(|neighbour| neighbour.mac);
        for vip in vips {
            assert_eq!(mac_of(&network.borrow(), vip), Some(Mac([2, 0, 0, 0, 0, 0x77])));
        }
        announce(&site.balancer, "p1", NEW_MAC, &vips);
        for vip in vips {
            see(&mut network, SOON, "the announced MAC", |now| mac_of(now, vip) == Some(NEW_MAC)).await;
        }
    });
}

#[test]
fn a_port_that_is_taken_out_of_forwarding_and_put_back_is_seen_within_a_second() {
    let site = Site::new("state");
    inside_async(&site.balancer, || async {
        let (mut network, _handle) = follow(by_events_alone()).await;
        let (port, bridge) = (index(&network, "p1"), index(&network, "br0"));
        assert_eq!(network.borrow().links[&port].kind, LinkKind::BridgePort { bridge, forwarding: true });
        // Disabled, listening, learning. Not 4, blocking: without spanning tree the
        // kernel turns that back into forwarding at once (br_port_state_selection).
        for state in 0..3 {
            site.bridge(&format!("link set dev p1 state {state}"));
            let blocked = |now: &Network| now.usable(port) == Err(Nowhere::PortBlocked);
            println!("state {state}: {:?}", see(&mut network, SOON, "not forwarding", blocked).await);
            site.bridge("link set dev p1 state 3");
            see(&mut network, SOON, "forwarding", |now| now.usable(port) == Ok(())).await;
        }
    });
}

#[test]
fn the_states_that_spanning_tree_takes_a_port_through_are_followed() {
    let site = Site::new("stp");
    inside_async(&site.balancer, || async {
        let (mut network, _handle) = follow(by_events_alone()).await;
        let port = index(&network, "p1");
        // Listening and learning take 2 s each, the shortest that the kernel allows.
        site.ip("link set br0 type bridge stp_state 1 forward_delay 200");
        site.ip("link set p1 down");
        see(&mut network, SOON, "down", |now| now.usable(port) == Err(Nowhere::PortDown)).await;
        site.ip("link set p1 up");
        see(&mut network, SOON, "listening", |now| now.usable(port) == Err(Nowhere::PortBlocked)).await;
        let listened = see(&mut network, Duration::from_secs(6), "forwarding", |now| now.usable(port) == Ok(())).await;
        assert!(listened > Duration::from_secs(3), "forwarding after {listened:?}: was that spanning tree?");
    });
}

#[test]
fn what_was_set_before_the_start_is_in_the_first_snapshot() {
    let site = Site::new("first");
    site.ip("link set br0 type bridge ageing_time 400");
    site.bridge(&format!("fdb add {STRANGER} dev p1 master static"));
    site.ip(&format!("neigh add 192.0.2.7 lladdr {STRANGER} dev br0 nud permanent"));
    site.ip(&format!("neigh add 2001:db8::7 lladdr {STRANGER} dev br0 nud stale"));
    site.bridge("link set dev p1 state 0");
    inside_async(&site.balancer, || async {
        let (network, _handle) = follow(by_events_alone()).await;
        let (port, bridge) = (index(&network, "p1"), index(&network, "br0"));
        let network = network.borrow();
        assert_eq!(network.usable(port), Err(Nowhere::PortBlocked));
        assert_eq!(network.links[&bridge].kind, LinkKind::Bridge { ageing_ms: 4_000 });
        assert_eq!(network.links[&bridge].mac, Mac([2, 0, 0, 0, 0, 0xfe]));
        assert_eq!(network.fdb.get(&(STRANGER, 0)), Some(&port));
        for address in ["192.0.2.7", "2001:db8::7"] {
            let neighbour = network.neighbours.get(&address.parse().unwrap()).copied();
            assert_eq!(neighbour, Some(Neighbour { link: bridge, mac: STRANGER }), "{address}");
        }
        assert!(network.fdb.keys().all(|(mac, _)| mac.0[0] & 1 == 0), "multicast: {:?}", network.fdb);
    });
}

#[test]
fn a_port_that_loses_its_carrier_leaves_the_bridge_or_goes_is_seen_within_a_second() {
    let site = Site::new("gone");
    site.add_port("p2");
    inside_async(&site.balancer, || async {
        let (mut network, _handle) = follow(by_events_alone()).await;
        let (p1, p2) = (index(&network, "p1"), index(&network, "p2"));
        site.server_ip("link set eth0 down");
        see(&mut network, SOON, "no carrier", |now| now.usable(p1) == Err(Nowhere::PortDown)).await;
        site.ip("link set p2 nomaster");
        see(&mut network, SOON, "no bridge", |now| now.links[&p2].kind == LinkKind::Single).await;
        site.ip("link del p2");
        see(&mut network, SOON, "no link", |now| !now.links.contains_key(&p2)).await;
    });
}

#[test]
fn a_learnt_mac_stays_while_it_is_learnt_again_and_ages_when_it_is_not() {
    let site = Site::new("age");
    site.add_port("p2");
    site.ip("link set br0 type bridge ageing_time 400");
    inside_async(&site.balancer, || async {
        let (mut network, handle) = follow(by_events_alone()).await;
        let (p1, p2) = (index(&network, "p1"), index(&network, "p2"));
        let on = |now: &Network, port| now.fdb.get(&(STRANGER, 0)) == Some(&port);
        handle.learn(STRANGER, 0, p1).await.unwrap();
        see(&mut network, SOON, "the MAC", |now| on(now, p1)).await;
        for second in 1..=10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(on(&network.borrow(), p1), "lost after {second} s");
            assert!(!network.has_changed().unwrap() || on(&network.borrow_and_update(), p1));
            handle.learn(STRANGER, 0, p1).await.unwrap();
        }
        handle.learn(STRANGER, 0, p2).await.unwrap();
        see(&mut network, SOON, "the move to another port", |now| on(now, p2)).await;
        // Ageing time 4 s; the kernel collects once in that time.
        let gone = |now: &Network| !now.fdb.contains_key(&(STRANGER, 0));
        let after = see(&mut network, Duration::from_secs(9), "its end", gone).await;
        assert!(after > Duration::from_secs(3), "gone after {after:?}, before its age");
    });
}

#[test]
fn a_port_that_the_bridge_does_not_listen_to_learns_nothing() {
    let site = Site::new("deaf");
    site.bridge("link set dev p1 state 0");
    inside_async(&site.balancer, || async {
        let (network, handle) = follow(Options::default()).await;
        handle.learn(STRANGER, 0, index(&network, "p1")).await.unwrap();
        let shown = run_in("bridge", &site.balancer, "fdb show br br0");
        assert!(!shown.contains(&STRANGER.to_string()), "{shown}");
    });
}

#[test]
fn learning_on_what_is_no_port_of_a_bridge_is_an_error() {
    let site = Site::new("noport");
    inside_async(&site.balancer, || async {
        let (network, handle) = follow(Options::default()).await;
        handle.learn(STRANGER, 0, index(&network, "lo")).await.unwrap_err();
        let error = handle.learn(STRANGER, 0, 4_000_000).await.unwrap_err();
        assert!(matches!(error, OsError::InterfaceGone { .. }), "{error}");
    });
}

/// Adds or deletes neighbour entries by the thousand, as fast as the kernel takes them.
fn storm(balancer: &str, verb: &str, count: usize) {
    let file = std::env::temp_dir().join(format!("{balancer}-storm"));
    let entry =
        |n: usize| format!("neigh {verb} 10.9.{}.{} lladdr {STRANGER} dev br0 nud permanent\n", n / 250, n % 250);
    std::fs::write(&file, (0..count).map(entry).collect::<String>()).unwrap();
    run_in("ip", balancer, &format!("-batch {}", file.display()));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_storm_of_events_that_overruns_the_buffer_ends_in_a_true_snapshot() {
    const COUNT: usize = 3_000;
    let site = Site::new("storm");
    inside_async(&site.balancer, || async {
        // Room for two or three events. Nobody reads them while the storm goes on: this thread is in it.
        let (mut network, handle) = follow(Options { receive_buffer: 2_048, ..by_events_alone() }).await;
        storm(&site.balancer, "add", COUNT);
        see(&mut network, SOON, "all of them", |now| now.neighbours.len() == COUNT).await;
        storm(&site.balancer, "del", COUNT);
        see(&mut network, SOON, "none of them", |now| now.neighbours.is_empty()).await;
        assert!(handle.overruns() > 0, "the buffer was never overrun, so this proves nothing");
    });
}

#[test]
fn a_storm_that_goes_on_while_everything_is_read_anew_ends_in_a_true_snapshot() {
    const COUNT: usize = 3_000;
    let site = Site::new("storm2");
    inside_async(&site.balancer, || async {
        let options = Options { receive_buffer: 2_048, ..by_events_alone() };
        let (mut network, handle) = follow(options).await;
        for _ in 0..3 {
            for (verb, left) in [("add", COUNT), ("del", 0)] {
                let balancer = site.balancer.clone();
                tokio::task::spawn_blocking(move || storm(&balancer, verb, COUNT)).await.unwrap();
                see(&mut network, SOON, verb, |now| now.neighbours.len() == left).await;
            }
        }
        println!("{} overruns", handle.overruns());
        assert!(handle.overruns() > 0, "the buffer was never overrun, so this proves nothing");
    });
}

#[test]
fn an_address_without_a_direct_route_is_reported_with_the_reason() {
    let site = Site::new("route");
    site.ip("route add 198.51.100.0/24 via 192.0.2.1");
    site.ip("route add 2001:db8:1::/48 via 2001:db8::1");
    site.ip("route add unreachable 203.0.113.0/24");
    let gateway = |text: &str| Err(NotDirect::Gateway(text.parse().unwrap()));
    let cases = [
        ("198.51.100.7", gateway("192.0.2.1")),
        ("2001:db8:1::7", gateway("2001:db8::1")),
        ("203.0.113.7", Err(NotDirect::NoRoute)),
        ("10.1.1.1", Err(NotDirect::NoRoute)),
        ("2001:db8:2::7", Err(NotDirect::NoRoute)),
        ("192.0.2.254", Err(NotDirect::OwnAddress)),
        ("2001:db8::fe", Err(NotDirect::OwnAddress)),
        ("192.0.2.255", Err(NotDirect::NotUnicast)),
    ];
    inside_async(&site.balancer, || async {
        let (_network, handle) = follow(Options::default()).await;
        handle.set_wanted(cases.iter().map(|(address, _)| address.parse().unwrap()).collect());
        let routes = handle.routes().wait_for(|routes| !routes.is_empty()).await.unwrap().clone();
        for (address, expected) in &cases {
            assert_eq!(&routes[&address.parse::<IpAddr>().unwrap()], expected, "{address}");
        }
        let error = handle.keep_neighbour(None, "198.51.100.7".parse().unwrap()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "198.51.100.7 has no neighbour entry to keep: \
             it is behind the gateway 192.0.2.1; a server must be on a segment of this box"
        );
    });
}

#[test]
fn an_entry_that_the_operator_has_set_stays_as_it_is() {
    let site = Site::new("perm");
    site.ip("neigh add 192.0.2.1 lladdr 02:00:00:00:00:55 dev br0 nud permanent");
    inside_async(&site.balancer, || async {
        let (network, handle) = follow(Options::default()).await;
        handle.keep_neighbour(None, SERVER4).await.unwrap();
        let shown = run_in("ip", &site.balancer, "neigh show 192.0.2.1");
        assert!(shown.contains("PERMANENT"), "{shown}");
        assert_eq!(network.borrow().neighbours[&SERVER4].mac, Mac([2, 0, 0, 0, 0, 0x55]));
    });
}

#[test]
fn a_veth_tells_its_driver_its_counters_and_whether_gro_is_on() {
    let site = Site::new("ethtool");
    inside_async(&site.balancer, || async {
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.driver("p1").unwrap(), "veth");
        let statistics = ethtool.statistics("p1").unwrap();
        for name in ["rx_queue_0_drops", "rx_queue_0_xdp_drops", "tx_queue_0_xdp_xmit_errors"] {
            assert_eq!(statistics.get(name), Some(&0), "{name} in {statistics:?}");
        }
        assert!(statistics.get("peer_ifindex").is_some_and(|index| *index != 0));
        assert_eq!(xdp_losses("veth", &statistics), Some(0));
        assert!(!ethtool.gro("p1").unwrap(), "off by default on veth");
        run("ip", &["netns", "exec", &site.balancer, "ethtool", "-K", "p1", "gro", "on"]);
        assert!(ethtool.gro("p1").unwrap());
    });
}

#[test]
fn what_a_driver_drops_is_counted() {
    let site = Site::new("drops");
    inside_async(&site.balancer, || async {
        let (network, handle) = follow(Options::default()).await;
        let port = index(&network, "p1");
        let before = handle.counts(port).await.unwrap();
        // The far end takes no frame longer than its MTU: the driver drops it.
        site.server_ip("link set eth0 mtu 1280");
        FrameSender::open().unwrap().send(port, &[2; 1_400]).unwrap_err();
        assert_eq!(handle.counts(port).await.unwrap().sent.dropped, before.sent.dropped + 1);
    });
}

#[test]
fn entering_a_namespace_moves_this_thread_and_no_other() {
    let site = Site::new("netns");
    let home = netns::current_inode().unwrap();
    let there = inside(&site.balancer, || netns::current_inode().unwrap());
    assert_eq!(there, netns::inode_of(&site.balancer).unwrap());
    assert_ne!(there, home);
    assert_eq!(netns::current_inode().unwrap(), home);
}
