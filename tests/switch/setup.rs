//! The bridge is made, adopted, kept; and what is not lbd's stays as it is.

use lbd::os::bridge::Record;

use super::stage::*;

#[test]
fn a_bridge_is_made_from_nothing_and_a_second_look_changes_nothing() {
    let site = site();
    let (lb1, gates) = (site.host("lb1").unwrap(), Default::default());
    let wanted = wanted(LB1, &["up0", "p1"], "10.1.0.2/24");
    let mut record = set_up(lb1, &wanted, &gates);
    let now = seen(lb1);
    let (bridge, link) = now.links.iter().find(|(_, link)| link.name == "br0").unwrap();
    assert_eq!((link.mac, link.up, link.bridge), (LB1, true, Some(false)));
    for name in ["up0", "p1"] {
        let port = now.links.values().find(|link| link.name == name).unwrap();
        assert_eq!((port.master, port.up), (Some(*bridge), true), "{name}");
    }
    let own = now.addresses.iter().find(|address| address.prefix == prefix("10.1.0.2/24")).unwrap();
    assert!(own.ours && own.link == *bridge);
    assert!(said(lb1, "ip -4 addr show dev br0").contains("brd 10.1.0.255"));
    let again = bring(lb1, &wanted, &gates, &mut record);
    assert_eq!((again.done, again.problems), (Vec::<String>::new(), Vec::<String>::new()));
    // It switches, and is itself on the network.
    let (_echoes, pc1) = ([Echo::on(site.host("router").unwrap()), Echo::on(lb1)], site.host("pc1").unwrap());
    assert!(talks(pc1, ROUTER, PATIENCE));
    assert!(talks(pc1, [10, 1, 0, 2].into(), PATIENCE));
}

#[test]
fn the_mac_of_a_bridge_stays_when_a_port_with_a_lower_one_joins_also_on_an_adopted_bridge() {
    let site = site();
    let (lb1, gates) = (site.host("lb1").unwrap(), Default::default());
    // The right MAC, but not fixed: that of its one port.
    site.ip("lb1", &format!("link set p1 address {LB1}\nlink add br0 type bridge\nlink set p1 master br0")).unwrap();
    assert!(said(lb1, "ip link show dev br0").contains(&LB1.to_string()));
    set_up(lb1, &wanted(LB1, &["p1"], "10.1.0.2/24"), &gates);
    site.ip("lb1", "link set x0 address 02:00:00:00:00:01\nlink set x0 master br0").unwrap();
    let text = said(lb1, "ip link show dev br0");
    assert!(text.contains(&LB1.to_string()), "{text}");
}

#[test]
fn an_existing_bridge_is_adopted_and_what_is_not_ours_is_left_alone() {
    let site = site();
    let (lb1, gates) = (site.host("lb1").unwrap(), Default::default());
    site.ip(
        "lb1",
        "link add br0 type bridge stp_state 1 ageing_time 4000\nlink set x0 master br0\nlink set p1 master br0\n\
         link set br0 up\naddr add 10.1.0.7/24 dev br0\naddr add 192.0.2.7/24 dev br0",
    )
    .unwrap();
    let mut full = wanted(LB1, &["up0", "p1"], "10.1.0.2/24");
    full.addresses.insert(prefix("fd00:1::2/64"));
    full.gated.clear();
    let mut record = set_up(lb1, &full, &gates);
    assert_eq!(record.ports, ["up0".to_owned()].into(), "p1 was there");
    let text = said(lb1, "ip -d link show dev br0");
    assert!(text.contains("stp_state 1") && text.contains("ageing_time 4000"), "{text}");
    // Another address, and neither port: up0 goes, which lbd put there, and of the addresses its own.
    let mut less = wanted(LB1, &[], "10.1.0.3/24");
    less.gated.clear();
    let outcome = bring(lb1, &less, &gates, &mut record);
    assert_eq!(outcome.problems, Vec::<String>::new());
    let now = seen(lb1);
    let bridge = index(lb1, "br0");
    let mut ports: Vec<&str> =
        now.links.values().filter(|link| link.master == Some(bridge)).map(|link| link.name.as_str()).collect();
    ports.sort_unstable();
    assert_eq!(ports, ["p1", "x0"]);
    let text = said(lb1, "ip -o -4 addr show dev br0");
    for there in ["10.1.0.7/24", "192.0.2.7/24", "10.1.0.3/24"] {
        assert!(text.contains(there), "{there} in {text}");
    }
    assert!(!text.contains("10.1.0.2/24"), "{text}");
}

#[test]
fn removing_the_first_address_of_a_network_takes_no_foreign_one_along() {
    let site = site();
    let (lb1, gates) = (site.host("lb1").unwrap(), Default::default());
    let mut record = set_up(lb1, &wanted(LB1, &["p1"], "10.1.0.2/24"), &gates);
    // Secondary to ours, which the kernel by default removes along with the first.
    site.ip("lb1", "addr add 10.1.0.7/24 dev br0").unwrap();
    let outcome = bring(lb1, &wanted(LB1, &["p1"], "10.1.0.3/24"), &gates, &mut record);
    assert_eq!(outcome.problems, Vec::<String>::new());
    let text = said(lb1, "ip -o -4 addr show dev br0");
    assert!(text.contains("10.1.0.7/24") && text.contains("10.1.0.3/24") && !text.contains("10.1.0.2/24"), "{text}");
}

#[test]
fn what_is_in_the_way_is_told_in_words() {
    let site = site();
    let (lb1, gates) = (site.host("lb1").unwrap(), Default::default());
    site.ip("lb1", "link add br9 type bridge\nlink set p1 master br9").unwrap();
    let outcome = bring(lb1, &wanted(LB1, &["up0", "p1"], "10.1.0.2/24"), &gates, &mut Record::default());
    assert_eq!(
        outcome.problems,
        ["p1 belongs to br9; take it out of there (`ip link set p1 nomaster`), or out of `ports`"]
    );
    // The rest is done all the same.
    let bridge = index(lb1, "br0");
    assert!(seen(lb1).links.values().any(|link| link.name == "up0" && link.master == Some(bridge)));
}

#[test]
fn a_gateway_of_servers_forwards_and_tells_nobody_of_a_shorter_way() {
    let site = site();
    let (lb1, gates) = (site.host("lb1").unwrap(), Default::default());
    let value = |key: &'static str| {
        let path = format!("/proc/sys/net/{key}");
        lb1.enter(move || std::fs::read_to_string(path).unwrap().trim().to_owned()).unwrap()
    };
    lb1.sysctl("net.ipv4.conf.all.send_redirects", "1").unwrap();
    let bare = wanted(LB1, &["up0", "p1"], "10.1.0.2/24");
    let mut record = set_up(lb1, &bare, &gates);
    assert_eq!((value("ipv4/ip_forward"), value("ipv6/conf/all/forwarding")), ("0".to_owned(), "0".to_owned()));
    let mut gateway = bare.clone();
    (gateway.gateway4, gateway.gateway6) = (true, true);
    assert_eq!(bring(lb1, &gateway, &gates, &mut record).problems, Vec::<String>::new());
    assert_eq!((value("ipv4/ip_forward"), value("ipv6/conf/all/forwarding")), ("1".to_owned(), "1".to_owned()));
    assert_eq!(value("ipv4/conf/all/send_redirects"), "0");
    assert_eq!(value("ipv4/conf/br0/send_redirects"), "0");
}
