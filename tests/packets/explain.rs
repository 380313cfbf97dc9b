//! What the variant that changes nothing foretells is what happens then, and asking changes nothing.

use std::collections::BTreeMap;

use lbd::config::{Mode, Persistence, Scheduler};
use lbd::dataplane::SharedMaps;
use lbd::dataplane::explain::{Explainer, FoundBy};
use libbpf_rs::{MapCore, MapFlags, MapType};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::frame::*;
use super::site::*;

/// A key, and its values of all CPUs.
type Entry = (Vec<u8>, Vec<Vec<u8>>);

/// The contents of every map that can be read.
fn contents(maps: &SharedMaps) -> BTreeMap<String, Vec<Entry>> {
    let readable = |kind: MapType| kind != MapType::RingBuf;
    let mut all = BTreeMap::new();
    for (name, map) in maps.iter().filter(|(_, map)| readable(map.map_type())) {
        let mut entries: Vec<_> = map
            .keys()
            .map(|key| {
                let values = if map.map_type() == MapType::PercpuArray {
                    map.lookup_percpu(&key, MapFlags::ANY).unwrap().unwrap()
                } else {
                    map.lookup(&key, MapFlags::ANY).unwrap().into_iter().collect()
                };
                (key, values)
            })
            .collect();
        entries.sort();
        all.insert(name.to_owned(), entries);
    }
    all
}

fn site() -> Site {
    let persistent = Pool { vip: 2, persistence: Some(Persistence::default()), ..Pool::tcp("web", 80, Mode::Nat) };
    Site::new([
        Pool::tcp("smtp", 25, Mode::Dsr).servers(1..=3).scheduler(Scheduler::Maglev),
        Pool { server_port: Some(2143), ..Pool::tcp("imap", 143, Mode::Nat) }.servers(1..=3),
        persistent.servers(1..=3).scheduler(Scheduler::LeastConnections),
        Pool::udp("dns", 53, Mode::Nat).servers(1..=3).scheduler(Scheduler::SourceHash),
        Pool::udp("radius", 1812, Mode::Dsr).servers(1..=3),
    ])
}

/// One step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Client { family: usize, client: u16, port: u16, service: usize, flags: u8 },
    Server { family: usize, client: u16, port: u16, server: u8, service: usize, flags: u8 },
    Fail(u8),
    Drain(u8),
}

const SERVICES: [(&str, u8, u16, u16); 5] =
    [("smtp", 1, 25, 25), ("imap", 1, 143, 2143), ("web", 2, 80, 80), ("dns", 1, 53, 53), ("radius", 1, 1812, 1812)];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flags = prop::sample::select(vec![SYN, ACK, ACK, ACK, SYN | ACK, FIN | ACK, RST]);
    let client = (0..2usize, 1..3u16, 4000..4003u16, 0..5usize, flags.clone())
        .prop_map(|(family, client, port, service, flags)| Step::Client { family, client, port, service, flags });
    let server = (0..2usize, 1..3u16, 4000..4003u16, 1..4u8, 0..5usize, flags).prop_map(
        |(family, client, port, server, service, flags)| Step::Server { family, client, port, server, service, flags },
    );
    let step = prop_oneof![
        40 => client, 15 => server,
        1 => (1..4u8).prop_map(Step::Fail),
        1 => (1..4u8).prop_map(Step::Drain)
    ];
    prop::collection::vec(step, 300)
}

fn frame(step: &Step) -> Option<Frame> {
    let ends = |from, to, service: usize, flags| {
        if service >= 3 { Frame::udp(from, to, b"question") } else { Frame::tcp(from, to, flags).ack(77) }
    };
    match *step {
        Step::Client { family, client: n, port, service, flags } => {
            let (_, v, to, _) = SERVICES[service];
            Some(ends(at(client(BOTH[family], n), port), at(vip(BOTH[family], v), to), service, flags))
        }
        Step::Server { family, client: n, port, server: s, service, flags } => {
            let from = at(server(BOTH[family], s), SERVICES[service].3);
            let frame = ends(from, at(client(BOTH[family], n), port), service, flags);
            Some(frame.between(server_mac(s), OWN))
        }
        Step::Fail(_) | Step::Drain(_) => None,
    }
}

#[test]
fn what_is_foretold_happens() {
    let mut lives = TestRunner::deterministic();
    let mut found: BTreeMap<FoundBy, usize> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..4 {
        let mut site = site();
        let explainer = Explainer::load(&site.dp.shared_maps().unwrap()).unwrap();
        for step in steps().new_tree(&mut lives).unwrap().current() {
            let frame = match (&step, frame(&step)) {
                (_, Some(frame)) => frame,
                (Step::Fail(n), _) => {
                    SERVICES.iter().for_each(|(service, ..)| site.fail(service, *n));
                    continue;
                }
                (Step::Drain(n), _) => {
                    SERVICES.iter().for_each(|(service, ..)| site.drain(service, *n));
                    continue;
                }
                _ => continue,
            };
            let foretold = explainer.run(&frame.bytes(), LO).unwrap();
            let outcome = site.send(&frame);
            let (_, verdict, reason, _) = foretold.reason;
            assert!(outcome.counted.contains(reason), "{step:?}: foretold {foretold:?}, came {outcome:?}");
            assert_eq!(foretold.frame, outcome.frame, "{step:?}, {verdict:?}");
            foretold.found_by.iter().for_each(|how| *found.entry(*how).or_default() += 1);
            *reasons.entry(reason).or_default() += 1;
        }
        site.assert_counts_are_true();
    }
    // It has been through what it is for.
    use FoundBy::*;
    for how in [Connection, Handshake, Persistence, Scheduler, Hash] {
        assert!(found.contains_key(&how), "{how:?} is missing in {found:?}");
    }
    for reason in ["to-server", "to-client", "hashed", "rst-no-flow", "rst-down", "no-flow"] {
        assert!(reasons.contains_key(reason), "{reason} is missing in {reasons:?}");
    }
}

#[test]
fn asking_changes_nothing() {
    let mut site = site();
    let mut lives = TestRunner::deterministic();
    let maps = site.dp.shared_maps().unwrap();
    let explainer = Explainer::load(&maps).unwrap();
    for _ in 0..3 {
        // Some life first, so that there is something to change.
        let frames = |lives: &mut TestRunner| -> Vec<Frame> {
            steps().new_tree(lives).unwrap().current().iter().filter_map(frame).collect()
        };
        frames(&mut lives).iter().for_each(|frame| drop(site.send(frame)));
        let before = contents(&maps);
        assert!(before["flows"].len() > 3 && before["reasons"].iter().any(|(_, cpus)| cpus.iter().any(|c| c[0] > 0)));
        let mut forwarded = 0;
        for frame in frames(&mut lives) {
            forwarded += usize::from(explainer.run(&frame.bytes(), LO).unwrap().reason.2 == "to-server");
        }
        assert!(forwarded > 50, "{forwarded}");
        let after = contents(&maps);
        for (name, entries) in &before {
            assert!(*entries == after[name], "{name} has changed");
        }
        SERVICES.iter().for_each(|(service, ..)| site.fail(service, 1));
    }
}
