//! The words of the lease, as the thread of the heartbeats writes them and the program obeys them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lbd::config::{Mode, XdpMode};
use lbd::core::forwarding::ForwardingState;
use lbd::dataplane::DataPlane;
use lbd::dataplane::lease::{Lease, LeaseWriter, boottime_ns};
use lbd::dataplane::release::{Token, TokenOf};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::frame::*;
use super::site::*;

const SECOND: u64 = 1_000_000_000;

fn site() -> (Site, LeaseWriter) {
    let site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    let lease = site.lease();
    (site, lease)
}

fn owns(site: &mut Site) -> bool {
    let (sender, target) = ((ROUTER, [198, 51, 100, 1]), ([0; 6], [192, 0, 2, 1]));
    let who_has = Arp { to: [0xff; 6], from: ROUTER, tag: None, operation: 1, sender, target };
    site.send_bytes("who-has", &who_has.bytes()).counted == ["arp"]
}

#[test]
fn a_data_plane_that_was_just_made_owns_nothing_until_it_is_told() {
    let dp = DataPlane::load(&small_limits(), None).unwrap();
    let lease = dp.lease_writer().unwrap();
    let reading = lease.read();
    assert_eq!((reading.lease, reading.owned_since, reading.promised_until), (Lease::Nothing, None, 0));
    assert_eq!((reading.alive_at, reading.token_shown_at), (0, None));
    assert!(!lease.make_endless().unwrap(), "who owns nothing cannot own it without end");
    assert_eq!(lease.read().lease, Lease::Nothing);
}

#[test]
fn a_lease_is_what_all_writers_read_and_the_program_obeys() {
    let (mut site, lease) = site();
    let until = boottime_ns() + 3600 * SECOND;
    lease.set_until(until);
    assert_eq!(site.lease().read().lease, Lease::Until(until));
    assert!(owns(&mut site));
    lease.drop_lease();
    assert_eq!((lease.read().lease, lease.read().owned_since), (Lease::Nothing, None));
    assert!(!owns(&mut site));
    // The end of time by a plain write is not "endless".
    lease.set_until(u64::MAX);
    assert_eq!(lease.read().lease, Lease::Until(u64::MAX - 1));
    assert!(owns(&mut site));
}

#[test]
fn an_owner_becomes_endless_and_a_box_whose_lease_has_run_out_does_not() {
    let (mut site, lease) = site();
    lease.set_until(boottime_ns() + 3600 * SECOND);
    assert!(lease.make_endless().unwrap());
    assert_eq!(lease.read().lease, Lease::Endless);
    assert!(lease.make_endless().unwrap(), "what is endless stays so");
    assert!(owns(&mut site));

    lease.set_until(boottime_ns() + SECOND / 50);
    std::thread::sleep(Duration::from_millis(21));
    assert!(!lease.make_endless().unwrap(), "decided while it owned, written when it did not");
    assert_eq!(lease.read().lease, Lease::Nothing);
    assert!(!owns(&mut site));
}

/// Around the very moment of its end: what the kernel says is true at some time between asking and answer.
#[test]
fn endless_is_decided_by_the_clock_at_the_moment_of_writing() {
    let (_site, lease) = site();
    let (mut made, mut refused) = (0, 0);
    for i in 0..4000u64 {
        let until = boottime_ns() + i % 100 * 500;
        lease.set_until(until);
        let before = boottime_ns();
        let endless = lease.make_endless().unwrap();
        let after = boottime_ns();
        if endless {
            made += 1;
            assert!(before < until, "endless, though the lease had run out before");
            assert_eq!(lease.read().lease, Lease::Endless);
        } else {
            refused += 1;
            assert!(after >= until, "refused, though the lease still ran");
            assert_eq!(lease.read().lease, Lease::Nothing);
        }
    }
    assert!(made > 100 && refused > 100, "the test must meet both: {made} made, {refused} refused");
}

#[test]
fn a_renewal_is_refused_to_a_box_that_owns_no_longer() {
    let (mut site, lease) = site();
    let until = boottime_ns() + 3600 * SECOND;
    assert!(lease.renew_until(until), "from endless to an end");
    assert_eq!(lease.read().lease, Lease::Until(until));
    assert!(lease.renew_until(until - SECOND), "sooner");
    assert!(lease.renew_until(until + SECOND), "later");
    assert_eq!(lease.read().lease, Lease::Until(until + SECOND));
    lease.drop_lease();
    assert!(!lease.renew_until(until));
    assert!(!owns(&mut site));
    lease.set_until(boottime_ns());
    assert!(!lease.renew_until(until), "run out");
    assert_eq!(lease.read().lease, Lease::Nothing);
}

#[test]
fn the_age_of_ownership_begins_with_a_claim_and_survives_renewals() {
    let (_site, lease) = site();
    lease.drop_lease();
    let before = boottime_ns();
    lease.set_until(before + 3600 * SECOND);
    let since = lease.read().owned_since.unwrap();
    assert!((before..=boottime_ns()).contains(&since));
    lease.set_until(before + 7200 * SECOND);
    assert!(lease.renew_until(before + 3000 * SECOND));
    assert!(lease.make_endless().unwrap());
    assert!(lease.renew_until(before + 3600 * SECOND));
    assert_eq!(lease.read().owned_since, Some(since));
    // Lost by its end, and claimed again: another ownership.
    lease.set_until(boottime_ns());
    assert_eq!(lease.read().owned_since, None);
    let again = boottime_ns();
    lease.set_until(again + SECOND);
    assert!(lease.read().owned_since.unwrap() >= again);
}

#[test]
fn promise_and_life_are_kept_beside_the_lease() {
    let (_site, lease) = site();
    lease.promise(77);
    let before = boottime_ns();
    lease.show_life();
    lease.drop_lease();
    let reading = lease.read();
    assert_eq!(reading.promised_until, 77);
    assert!((before..=reading.now).contains(&reading.alive_at));
    lease.promise(0);
    assert_eq!(lease.read().promised_until, 0);
}

/// What the thread of the heartbeats is promised: it waits for nobody who holds the data plane.
#[test]
fn a_write_waits_for_nobody_and_takes_microseconds() {
    let (site, lease) = site();
    let held = std::sync::Mutex::new(site);
    let guard = held.lock().unwrap();
    let stop = AtomicBool::new(false);
    let (writes, decisions) = std::thread::scope(|scope| {
        // Another thread keeps the tables busy meanwhile.
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                guard.dp.sweep_embryos().unwrap();
            }
        });
        let time = |work: &dyn Fn()| {
            let mut all: Vec<Duration> = (0..2001)
                .map(|_| {
                    let begun = Instant::now();
                    work();
                    begun.elapsed()
                })
                .collect();
            all.sort();
            all[all.len() / 2]
        };
        let writes = time(&|| lease.set_until(boottime_ns() + SECOND));
        let decisions = time(&|| assert!(lease.make_endless().unwrap()));
        stop.store(true, Ordering::Release);
        (writes, decisions)
    });
    println!("median: a write {writes:?}, endless {decisions:?}");
    assert!(writes < Duration::from_micros(20), "{writes:?}");
    assert!(decisions < Duration::from_micros(200), "{decisions:?}");
}

/// Where a test pins a data plane of its own.
struct Pins(PathBuf);

impl Pins {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("lbd-packets-{name}-{}", std::process::id())))
    }

    fn load(&self) -> DataPlane {
        DataPlane::load(&small_limits(), Some(&self.0)).unwrap_or_else(|e| panic!("{e}"))
    }

    fn map(&self, name: &str) -> MapHandle {
        MapHandle::from_pinned_path(self.0.join(name)).unwrap()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let stopped = lbd::dataplane::stop(&self.0);
        let removed = std::fs::remove_dir(&self.0);
        if !std::thread::panicking() {
            stopped.unwrap();
            removed.unwrap();
        }
    }
}

/// The one entry.
fn bytes_of(map: &MapHandle) -> Vec<u8> {
    map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap()
}

/// Of `struct control` in every layout: the lease comes first.
fn held(map: &MapHandle) -> u64 {
    u64::from_ne_bytes(bytes_of(map)[..8].try_into().unwrap())
}

/// Of `struct ownership` in every layout from 3 on.
fn alive_at(map: &MapHandle) -> u64 {
    u64::from_ne_bytes(bytes_of(map)[16..24].try_into().unwrap())
}

fn token_of(map: &MapHandle) -> [u8; 16] {
    bytes_of(map)[40..56].try_into().unwrap()
}

#[test]
fn a_daemon_that_starts_again_finds_lease_age_and_promise_as_they_were() {
    let pins = Pins::new("adopt");
    let until = boottime_ns() + 3600 * SECOND;
    let before = {
        let dp = pins.load();
        assert!(!dp.adopted());
        let lease = dp.lease_writer().unwrap();
        assert_eq!(lease.read().lease, Lease::Nothing);
        lease.set_until(until);
        lease.promise(until + 1);
        lease.read()
    };
    let dp = pins.load();
    assert!(dp.adopted());
    let after = dp.lease_writer().unwrap().read();
    assert_eq!((after.lease, after.promised_until), (Lease::Until(until), until + 1));
    assert_eq!((after.owned_since, before.owned_since.is_some()), (before.owned_since, true));
}

#[test]
fn a_lease_goes_over_to_maps_of_another_layout_and_rules_both_until_the_old_ones_are_given_up() {
    let pins = Pins::new("layout");
    {
        let dp = pins.load();
        dp.own_alone();
        let token = TokenOf { owner: 1, boot: 1, start: 1, number: 0 };
        dp.lease_writer().unwrap().arm(&Token::new(&[1; 32], &token));
    }
    let old = pins.map("control");
    let beside = pins.map("ownership");
    assert_ne!(token_of(&beside), [0; 16]);
    let mut value = bytes_of(&old);
    value[8..12].copy_from_slice(&2u32.to_ne_bytes());
    old.update(&0u32.to_ne_bytes(), &value, MapFlags::ANY).unwrap();

    let mut dp = pins.load();
    assert!(!dp.adopted());
    let lease = dp.lease_writer().unwrap();
    assert_eq!((lease.read().lease, held(&old)), (Lease::Endless, u64::MAX));
    assert_eq!(token_of(&beside), [0; 16], "the token of the daemon before");
    assert_eq!(alive_at(&beside), 0);
    lease.show_life();
    assert_eq!(alive_at(&beside), lease.read().alive_at);
    let until = boottime_ns() + 3600 * SECOND;
    assert!(lease.renew_until(until));
    assert_eq!((lease.read().lease, held(&old)), (Lease::Until(until), until));
    assert!(!lease.make_endless().unwrap(), "what the other one serves by cannot be changed so");
    assert_eq!((lease.read().lease, held(&old)), (Lease::Until(until), until));
    lease.set_until(until + 1);
    assert_eq!(held(&old), until + 1);

    dp.apply(&ForwardingState::default(), &BTreeMap::new(), XdpMode::Auto).unwrap();
    assert!(lease.make_endless().unwrap(), "the tables are filled, and ours are in service");
    lease.drop_lease();
    assert_eq!((lease.read().lease, held(&old)), (Lease::Nothing, 0));
}
