use proptest::prelude::*;

use super::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn wanted() -> Wanted {
    Wanted {
        bridge: "br0".to_owned(),
        mac: MAC,
        ports: ["p1", "p2", "p3"].map(str::to_owned).into(),
        addresses: [prefix("10.1.0.2/24")].into(),
        gated: ["p1".to_owned()].into(),
        ..Wanted::default()
    }
}

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
}

fn link(name: &str) -> SeenLink {
    SeenLink { name: name.to_owned(), mac: OTHER_MAC, up: true, ..SeenLink::default() }
}

fn port_of(name: &str, master: IfIndex) -> SeenLink {
    let port = Some(SeenPort { lets_in: true, held: false });
    SeenLink { master: Some(master), port, ..link(name) }
}

/// The kernel, as far as the requests go: what each of them changes.
fn obey(request: &Request, seen: &mut Seen, record: &mut Record) {
    let next = seen.links.keys().max().map_or(1, |last| last + 1);
    let mut change = |index: &IfIndex, change: &dyn Fn(&mut SeenLink)| change(seen.links.get_mut(index).unwrap());
    match request {
        Request::MakeBridge { name, mac, stp } => {
            assert!(seen.links.values().all(|link| link.name != *name), "{name} is there");
            let bridge = SeenLink { name: name.clone(), mac: *mac, bridge: Some(*stp), ..SeenLink::default() };
            seen.links.insert(next, bridge);
        }
        Request::FixMac { bridge, mac } => {
            change(bridge, &|link| link.mac = *mac);
            record.bridge = Some(*bridge);
        }
        Request::SetStp { bridge, on } => change(bridge, &|link| link.bridge = Some(*on)),
        Request::Leave { port, name } => {
            change(port, &|link| (link.master, link.port) = (None, None));
            record.ports.remove(name);
        }
        Request::Down { port } => change(port, &|link| {
            link.up = false;
            link.port.as_mut().into_iter().for_each(|port| port.lets_in = false);
        }),
        Request::Join { port, name, bridge } => {
            record.ports.insert(name.clone());
            change(port, &|link| {
                link.master = Some(*bridge);
                link.port = Some(SeenPort { lets_in: link.up, held: false });
            });
        }
        Request::Block { port } => {
            change(port, &|link| link.port = Some(SeenPort { lets_in: false, held: true }));
        }
        Request::Unblock { port } => {
            change(port, &|link| link.port = Some(SeenPort { lets_in: link.up, held: false }));
        }
        Request::Up { link } => change(link, &|link| {
            // The kernel makes a port forward that comes up, held or not.
            let was_down = !link.up;
            link.up = true;
            link.port.as_mut().into_iter().for_each(|port| port.lets_in |= was_down);
        }),
        Request::RemoveAddress { bridge, prefix } => {
            let ours = SeenAddress { link: *bridge, prefix: *prefix, ours: true };
            assert!(seen.addresses.remove(&ours), "{prefix} is not there, or not ours");
        }
        Request::AddAddress { bridge, prefix } => {
            let same = seen.addresses.iter().filter(|a| a.link == *bridge && a.prefix.address == prefix.address);
            assert_eq!(same.count(), 0, "{prefix} is there");
            seen.addresses.insert(SeenAddress { link: *bridge, prefix: *prefix, ours: true });
        }
    }
}

/// Looks and does until nothing is left to do; every request that was made.
fn settle(
    wanted: &Wanted,
    gate: &dyn Fn(IfIndex) -> Option<Gate>,
    seen: &mut Seen,
    record: &mut Record,
) -> (Vec<Request>, Vec<Problem>) {
    let mut made = Vec::new();
    for _ in 0..4 {
        let Difference { requests, problems } = difference(wanted, gate, seen, record);
        if requests.is_empty() {
            return (made, problems);
        }
        for request in requests {
            obey(&request, seen, record);
            made.push(request);
        }
    }
    panic!("not settled after four rounds: {made:?}");
}

fn three_ports() -> Seen {
    let links = [(1, "lo"), (2, "p1"), (3, "p2"), (4, "p3"), (5, "eth9")];
    Seen { links: links.map(|(index, name)| (index, link(name))).into(), ..Seen::default() }
}

#[test]
fn from_nothing_the_bridge_is_made_with_its_mac_then_joined_then_addressed() {
    let (mut seen, mut record) = (three_ports(), Record::default());
    let (made, problems) = settle(&wanted(), &|_| None, &mut seen, &mut record);
    let join = |port, name: &str| Request::Join { port, name: name.to_owned(), bridge: 6 };
    assert_eq!(
        made,
        [
            Request::MakeBridge { name: "br0".to_owned(), mac: MAC, stp: false },
            Request::FixMac { bridge: 6, mac: MAC },
            join(2, "p1"),
            join(3, "p2"),
            join(4, "p3"),
            Request::Up { link: 6 },
            Request::AddAddress { bridge: 6, prefix: prefix("10.1.0.2/24") },
        ]
    );
    assert_eq!(problems, []);
    assert_eq!(record, Record { bridge: Some(6), ports: wanted().ports });
}

#[test]
fn a_port_that_is_to_be_blocked_joins_while_it_is_down_so_that_it_never_forwards() {
    let (mut seen, mut record) = (three_ports(), Record::default());
    let (made, _) = settle(&wanted(), &|port| (port == 2).then_some(Gate::Blocked), &mut seen, &mut record);
    let of_p1: Vec<&Request> = made
        .iter()
        .filter(|request| {
            matches!(request, Request::Down { port: 2 } | Request::Join { port: 2, .. } | Request::Block { port: 2 })
                || **request == Request::Up { link: 2 }
        })
        .collect();
    let join = Request::Join { port: 2, name: "p1".to_owned(), bridge: 6 };
    let (down, block, up) = (Request::Down { port: 2 }, Request::Block { port: 2 }, Request::Up { link: 2 });
    // Blocked again at last: the kernel has given it the state of forwarding, in which the hold has kept it shut.
    assert_eq!(of_p1, [&down, &join, &block, &up, &block]);
}

#[test]
fn foreign_ports_and_addresses_are_left_alone_and_own_ones_go_with_the_configuration() {
    let (mut seen, mut record) = (three_ports(), Record::default());
    settle(&wanted(), &|_| None, &mut seen, &mut record);
    seen.links.insert(5, port_of("eth9", 6));
    let foreign = SeenAddress { link: 6, prefix: prefix("192.0.2.9/24"), ours: false };
    seen.addresses.insert(foreign);
    let mut less = wanted();
    less.ports.remove("p3");
    less.addresses = [prefix("10.1.0.3/24")].into();
    let (made, problems) = settle(&less, &|_| None, &mut seen, &mut record);
    assert_eq!(
        made,
        [
            Request::Leave { port: 4, name: "p3".to_owned() },
            Request::RemoveAddress { bridge: 6, prefix: prefix("10.1.0.2/24") },
            Request::AddAddress { bridge: 6, prefix: prefix("10.1.0.3/24") },
        ]
    );
    assert_eq!(problems, []);
    assert_eq!(seen.links[&5].master, Some(6));
    assert!(seen.addresses.contains(&foreign));
}

#[test]
fn an_adopted_port_stays_in_the_bridge_when_the_configuration_forgets_it() {
    let mut seen = three_ports();
    seen.links.insert(6, SeenLink { mac: MAC, bridge: Some(false), ..link("br0") });
    seen.links.insert(3, port_of("p2", 6));
    let mut record = Record::default();
    settle(&wanted(), &|_| None, &mut seen, &mut record);
    assert!(!record.ports.contains("p2"));
    let mut less = wanted();
    less.ports.clear();
    let (made, _) = settle(&less, &|_| None, &mut seen, &mut record);
    let leave = |port, name: &str| Request::Leave { port, name: name.to_owned() };
    assert_eq!(made, [leave(2, "p1"), leave(4, "p3")]);
}

#[test]
fn a_port_of_another_bridge_is_not_stolen_but_one_that_lbd_put_there_moves() {
    let mut seen = three_ports();
    seen.links.insert(6, SeenLink { bridge: Some(false), ..link("br9") });
    seen.links.insert(2, port_of("p1", 6));
    let (_, problems) = settle(&wanted(), &|_| None, &mut seen.clone(), &mut Record::default());
    assert_eq!(
        problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["p1 belongs to br9; take it out of there (`ip link set p1 nomaster`), or out of `ports`"]
    );
    let mut record = Record { ports: ["p1".to_owned()].into(), ..Record::default() };
    let (made, problems) = settle(&wanted(), &|_| None, &mut seen, &mut record);
    assert!(made.contains(&Request::Join { port: 2, name: "p1".to_owned(), bridge: 7 }), "{made:?}");
    assert_eq!(problems, []);
}

#[test]
fn what_is_no_bridge_is_not_touched() {
    let mut seen = three_ports();
    seen.links.insert(6, link("br0"));
    let made = difference(&wanted(), &|_| None, &seen, &Record::default());
    let problems = vec![Problem::NotABridge { name: "br0".to_owned() }];
    assert_eq!(made, Difference { requests: Vec::new(), problems });
}

#[test]
fn the_same_address_with_another_length_is_corrected_if_it_is_ours_and_told_if_it_is_not() {
    for ours in [true, false] {
        let (mut seen, mut record) = (three_ports(), Record::default());
        settle(&wanted(), &|_| None, &mut seen, &mut record);
        seen.addresses = [SeenAddress { link: 6, prefix: prefix("10.1.0.2/25"), ours }].into();
        let (made, problems) = settle(&wanted(), &|_| None, &mut seen, &mut record);
        assert_eq!((made.len(), problems.len()), if ours { (2, 0) } else { (0, 1) }, "{made:?} {problems:?}");
    }
}

#[test]
fn spanning_tree_is_set_where_it_is_said_and_a_problem_where_a_pair_needs_the_ports() {
    let mut seen = three_ports();
    seen.links.insert(6, SeenLink { bridge: Some(true), ..link("br0") });
    let (_, problems) = settle(&wanted(), &|_| None, &mut seen.clone(), &mut Record::default());
    assert_eq!(problems, [Problem::SpanningTree { bridge: "br0".to_owned() }]);
    let without = Wanted { stp: Some(false), ..wanted() };
    let (made, problems) = settle(&without, &|_| None, &mut seen, &mut Record::default());
    assert!(made.contains(&Request::SetStp { bridge: 6, on: false }));
    assert_eq!(problems, []);
}

#[test]
fn a_port_that_no_pair_blocks_any_more_is_opened() {
    let (mut seen, mut record) = (three_ports(), Record::default());
    settle(&wanted(), &|port| (port == 2).then_some(Gate::Blocked), &mut seen, &mut record);
    // The pair has not said anything yet: as it was.
    assert_eq!(difference(&wanted(), &|_| None, &seen, &record).requests, []);
    let alone = Wanted { gated: BTreeSet::new(), ..wanted() };
    assert_eq!(difference(&alone, &|_| None, &seen, &record).requests, [Request::Unblock { port: 2 }]);
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let names = ["br0", "br9", "p1", "p2", "p3", "eth9"];
    let each = (any::<bool>(), any::<bool>(), any::<bool>(), 0..4_u32, any::<(bool, bool, bool)>());
    let addresses = prop::collection::vec((1..8_u32, 0..4_usize, any::<bool>()), 0..6);
    (prop::collection::vec(each, names.len()), addresses).prop_map(move |(links, addresses)| {
        let mut seen = Seen::default();
        for (n, (there, up, right_mac, master, (is_bridge, lets_in, held))) in links.into_iter().enumerate() {
            if !there {
                continue;
            }
            // br0 and br9 may be bridges; the others may be ports of one, if it is.
            let bridge = (n < 2 && is_bridge).then_some(lets_in);
            let mac = if right_mac { MAC } else { OTHER_MAC };
            let is_port =
                n >= 2 && (1..3).contains(&master) && seen.links.get(&master).is_some_and(|m| m.bridge.is_some());
            let port = is_port.then_some(SeenPort { lets_in: lets_in && up, held });
            let master = Some(master).filter(|_| is_port);
            seen.links.insert(n as u32 + 1, SeenLink { name: names[n].to_owned(), mac, up, master, bridge, port });
        }
        for (link, n, ours) in addresses {
            let prefix = prefix(["10.1.0.2/24", "10.1.0.2/25", "10.1.0.3/24", "fd00::2/64"][n]);
            let taken = seen.addresses.iter().any(|a| a.link == link && a.prefix.address == prefix.address);
            if seen.links.contains_key(&link) && !taken {
                seen.addresses.insert(SeenAddress { link, prefix, ours });
            }
        }
        seen
    })
}

fn subset(of: &'static [&'static str]) -> impl Strategy<Value = BTreeSet<String>> {
    prop::sample::subsequence(of, 0..=of.len()).prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_kernel_has_a_second_look_finds_nothing_to_do_and_what_is_not_ours_is_untouched(
        mut seen in any_seen(),
        ports in subset(&["p1", "p2", "p3"]),
        recorded in subset(&["p1", "p2", "p3", "eth9"]),
        gated in subset(&["p1", "p2"]),
        gates in any::<[Option<bool>; 2]>(),
        addresses in prop::sample::subsequence(&["10.1.0.2/24", "10.1.0.3/24", "fd00::2/64"], 0..=3),
        stp in any::<Option<bool>>(),
        fixed in prop::option::of(1..3_u32),
    ) {
        let wanted = Wanted {
            stp,
            ports,
            addresses: addresses.into_iter().map(prefix).collect(),
            gated,
            ..wanted()
        };
        let before = seen.clone();
        let mut record = Record { bridge: fixed, ports: recorded.clone() };
        let gate = |port: IfIndex| {
            let said = gates.get((port as usize).checked_sub(3)?)?.as_ref()?;
            Some(if *said { Gate::Open } else { Gate::Blocked })
        };
        let (_, problems) = settle(&wanted, &gate, &mut seen, &mut record);
        // Foreign addresses and all that is on other links.
        let bridge = named(&seen, "br0").map(|(index, _)| index).unwrap();
        for address in before.addresses.iter().filter(|a| !a.ours || a.link != bridge) {
            prop_assert!(seen.addresses.contains(address), "{address:?} is gone");
        }
        for (index, link) in &before.links {
            let now = &seen.links[index];
            let is_wanted = wanted.ports.contains(&link.name) || link.name == "br0";
            if !is_wanted && !recorded.contains(&link.name) {
                prop_assert_eq!(now, link);
            }
        }
        if problems.iter().any(|problem| matches!(problem, Problem::NotABridge { .. })) {
            prop_assert_eq!(seen, before);
            return Ok(());
        }
        // What is wanted is so, but for what a problem tells of.
        let br0 = &seen.links[&bridge];
        prop_assert!(br0.up && br0.mac == MAC && record.bridge == Some(bridge));
        for (index, port) in seen.links.iter().filter(|(_, port)| wanted.ports.contains(&port.name)) {
            let told = problems.iter().any(|p| matches!(p, Problem::InAnother { port: told, .. } if *told == port.name));
            prop_assert!(told || port.master == Some(bridge) && port.up, "{port:?}");
            let state = port.port.unwrap_or_default();
            match gate(*index) {
                Some(Gate::Blocked) if !told => prop_assert!(state.held && !state.lets_in, "{port:?}"),
                Some(Gate::Open) if !told => prop_assert!(!state.held, "{port:?}"),
                _ => {}
            }
        }
        for prefix in &wanted.addresses {
            let there = seen.addresses.iter().any(|a| a.link == bridge && a.prefix == *prefix);
            let told = problems.iter().any(|p| matches!(p, Problem::OtherLength { wanted, .. } if wanted == prefix));
            prop_assert!(there || told, "{prefix} is missing");
        }
    }
}
