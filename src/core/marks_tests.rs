use super::*;
use crate::core::forwarding::{Dest, DestKey, Port, ServiceKey};
use crate::core::network::Nowhere;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn servers(names: &[&str]) -> BTreeSet<Marked> {
    names.iter().map(|text| (name(text), Family::V4)).collect()
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

#[test]
fn a_server_keeps_its_mark_while_others_come_and_go() {
    let mut marks = Marks::default();
    marks.set(&servers(&["b"]), at(0));
    let mark = marks.mark(&name("b"), Family::V4).unwrap();
    assert_eq!(mark & PROBE_MARK_MASK, PROBE_MARK);
    assert_ne!(mark & !PROBE_MARK_MASK, 0);
    assert_eq!(marks.mark(&name("b"), Family::V6), None);
    for (second, others) in [&["a", "b"][..], &["a", "b", "c"], &["b", "c"], &["b"]].iter().enumerate() {
        marks.set(&servers(others), at(second as u64));
        assert_eq!(marks.mark(&name("b"), Family::V4), Some(mark), "{others:?}");
    }
}

#[test]
fn each_server_has_a_mark_of_its_own_in_each_family() {
    let mut marks = Marks::default();
    let both = |text: &str| [(name(text), Family::V4), (name(text), Family::V6)];
    let wanted: BTreeSet<Marked> = ["a", "b"].iter().flat_map(|text| both(text)).collect();
    marks.set(&wanted, at(0));
    let given: BTreeSet<u32> = wanted.iter().map(|(server, family)| marks.mark(server, *family).unwrap()).collect();
    assert_eq!(given.len(), 4);
}

#[test]
fn a_number_rests_before_another_server_gets_it_and_goes_back_to_its_own_at_any_time() {
    let mut marks = Marks::default();
    let all: BTreeSet<Marked> = (0..u16::MAX).map(|n| (name(&format!("s{n}")), Family::V4)).collect();
    marks.set(&all, at(0));
    assert!(all.iter().all(|(server, family)| marks.mark(server, *family).is_some()), "65,535 have room");
    let freed = marks.mark(&name("s7"), Family::V4);
    let mut others = all.clone();
    others.remove(&(name("s7"), Family::V4));
    let mut newcomer = others.clone();
    newcomer.insert((name("new"), Family::V4));
    marks.set(&newcomer, at(10));
    assert_eq!(marks.mark(&name("new"), Family::V4), None, "the one free number rests");
    marks.set(&all, at(609));
    assert_eq!(marks.mark(&name("s7"), Family::V4), freed, "a server that comes back");
    marks.set(&newcomer, at(700));
    marks.set(&newcomer, at(1299));
    assert_eq!(marks.mark(&name("new"), Family::V4), None);
    marks.set(&newcomer, at(1300));
    assert_eq!(marks.mark(&name("new"), Family::V4), freed);
}

#[test]
fn probes_go_where_customers_frames_go_and_those_of_a_server_without_a_place_nowhere() {
    let mut marks = Marks::default();
    marks.set(&servers(&["known", "lost", "far", "nat"]), at(0));
    let place = Place { mac: Mac([2, 0, 0, 0, 0, 9]), port: 3, vlan: 7 };
    let own = Mac([2, 0, 0, 0, 1, 1]);
    let mut state = ForwardingState::default();
    state.ports.insert(3, Port { mac: own, forwarding: true, running: true });
    let service = ServiceKey { virtual_server: name("mx"), service: name("smtp"), family: Family::V4 };
    for (server, place, mode) in [
        ("known", Ok(place), Mode::Dsr),
        ("lost", Err(Nowhere::NoNeighbour), Mode::Dsr),
        ("far", Ok(Place { port: 4, ..place }), Mode::Dsr),
        ("nat", Ok(place), Mode::Nat),
    ] {
        let key = DestKey { service: service.clone(), server: name(server) };
        let address = "10.1.0.11".parse().unwrap();
        state.dests.insert(key, Dest { address, port: None, mode, place, down: false });
    }
    let mark = marks.mark(&name("known"), Family::V4).unwrap();
    assert_eq!(marks.places(&state), BTreeMap::from([(mark, ProbePlace { to: place, own })]));
}
