//! A data plane whose maps an older version has made: new ones take their place.

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::conf::Conf;
use super::stage::{Stage, until};
use super::talk::{Newcomers, Talkers};

const NAT: &str = "192.0.2.25:7";
const DSR: &str = "192.0.2.110:7";
/// Of `layout` in `struct control`, bytes: the same in every layout.
const LAYOUT_AT: usize = 8;

/// Has the pinned maps say that they are of another layout; which they were of.
fn relabel(stage: &Stage, layout: u32) -> u32 {
    let map = MapHandle::from_pinned_path(stage.bpf_dir().join("control")).unwrap();
    let key = 0u32.to_ne_bytes();
    let mut value = map.lookup(&key, MapFlags::ANY).unwrap().unwrap();
    let place = &mut value[LAYOUT_AT..LAYOUT_AT + 4];
    let before = u32::from_ne_bytes(place.try_into().unwrap());
    place.copy_from_slice(&layout.to_ne_bytes());
    map.update(&key, &value, MapFlags::ANY).unwrap();
    before
}

#[test]
fn maps_of_another_layout_are_replaced_and_only_what_needs_an_entry_is_reset() {
    let conf = Conf::new(2)
        .pool("echo", "members: [pc1, pc2], scheduler: maglev")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat")
        .virtual_server("w", &["192.0.2.110"])
        .service("w", "echo", "port: 7, pool: echo, mode: dsr");
    let mut stage = Stage::new(2, &conf);
    let client = stage.client().clone();
    let [nat, dsr] = [NAT, DSR].map(|target| Talkers::open(&client, target, 40, &[]));
    stage.kill_balancer();
    let own = relabel(&stage, 2);
    assert_ne!(own, 2);
    let newcomers = [NAT, DSR].map(|target| Newcomers::start(&client, target, std::time::Duration::from_millis(20)));

    stage.start();
    assert_eq!(stage.state().0["adopted"], false);
    assert!(stage.log().contains(&format!("map layout 2, this version {own}")), "{}", stage.log());
    stage.wait("in service", |s| s.all_scheduled());
    until("NAT's connections are reset: their entries are gone", || nat.lost().len() == 40);
    assert!(nat.finish().into_values().all(|why| why == "reset"));
    dsr.all_talk();
    dsr.none_is_lost();
    for (newcomers, mode) in newcomers.into_iter().zip(["nat", "dsr"]) {
        let attempts = newcomers.end();
        let failed: Vec<_> = attempts.iter().filter(|a| a.outcome.is_err()).collect();
        // Those in NAT that were under way in the moment of the change.
        assert!(failed.len() <= if mode == "nat" { 2 } else { 0 }, "{mode}: {failed:?}");
    }
    for target in [NAT, DSR] {
        assert_eq!(stage.ask(target, 20).served_count(), 20);
    }
    dsr.end();

    // The next start finds its own.
    stage.kill_balancer();
    assert_eq!(relabel(&stage, own), own);
    stage.start();
    assert_eq!(stage.state().0["adopted"], true);
}
