//! The words of the lease, as the thread of the heartbeats writes them and the program obeys them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lbd::config::Mode;
use lbd::dataplane::lease::{Lease, LeaseWriter, boottime_ns};

use super::frame::*;
use super::site::*;

const SECOND: u64 = 1_000_000_000;

fn syn() -> Frame {
    Frame::tcp(at(client(V4, 1), 4000), at(vip(V4, 1), 25), SYN)
}

fn site() -> (Site, LeaseWriter) {
    let site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    let lease = site.lease();
    (site, lease)
}

fn owns(site: &mut Site) -> bool {
    site.send(&syn()).counted.contains(&"to-server")
}

#[test]
fn a_data_plane_that_was_just_made_owns_nothing_until_it_is_told() {
    let dp = lbd::dataplane::DataPlane::load(&small_limits(), None).unwrap();
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
