use std::thread;
use std::time::{Duration, Instant as Wall};

use super::relay::Relay;
use super::serial::SerialConfig;
use super::udp::UdpConfig;
use super::*;
use crate::pair::heartbeat::{BoxId, Echo, Incarnation, State};
use crate::pair::key::{Key, KeyId, Keys};
use crate::pair::seal::Refused;
use crate::pair::version::SPOKEN;
use crate::pair::wire::Identity;

const INCARNATION: Incarnation = Incarnation { boot: 3, start: 1 };

fn now() -> Instant {
    static START: std::sync::LazyLock<Wall> = std::sync::LazyLock::new(Wall::now);
    Instant(u64::try_from(START.elapsed().as_nanos()).unwrap() + 10_000_000_000)
}

/// One of two boxes that beat over one path.
struct Side {
    codec: Codec,
    path: Path,
    newest: Option<Echo>,
}

impl Side {
    fn new(own: u64, peer: u64, medium: Medium) -> Self {
        let (own, peer) = (BoxId(own), BoxId(peer));
        let identity =
            Identity { own, incarnation: INCARNATION, peer, peer_floor: Incarnation::default(), versions: SPOKEN };
        let codec = Codec::new(&identity, Keys::single(Key::new(KeyId(1), [7; 32]))).unwrap();
        let mut path = Path::new(Channel::new(2).unwrap(), medium);
        path.tick(now());
        assert!(path.fd().is_some(), "{:?}", path.trouble());
        Self { codec, path, newest: None }
    }

    fn beat(&mut self) {
        let at = now();
        let heartbeat =
            Heartbeat { stamp: at.stamp(), echo: self.newest, state: State::Standby, ..Heartbeat::default() };
        self.path.send(&mut self.codec, &heartbeat, at).unwrap();
    }

    fn listen(&mut self) {
        self.path.tick(now());
        let newest = &mut self.newest;
        self.path.drain(&mut self.codec, &mut now, &mut |received, _| {
            let heartbeat = &received.heartbeat;
            *newest = Some(Echo { incarnation: heartbeat.incarnation, stamp: heartbeat.stamp });
        });
    }
}

/// Each beats every 50 ms, so many times; both listen all the time, and for 300 ms more.
fn beat(sides: &mut [Side; 2], count: u32) {
    let begin = Wall::now();
    let mut next = 0;
    while begin.elapsed() < Duration::from_millis(50) * count + Duration::from_millis(300) {
        if next < count && begin.elapsed() >= Duration::from_millis(50) * next {
            sides.iter_mut().for_each(Side::beat);
            next += 1;
        }
        sides.iter_mut().for_each(Side::listen);
        thread::sleep(Duration::from_micros(300));
    }
}

fn udp_sides() -> [Side; 2] {
    let [one, other] = [0, 0].map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let (local, peer) = (one.local_addr().unwrap(), other.local_addr().unwrap());
    drop((one, other));
    let medium = |local, peer| Medium::Udp(UdpPath::new(UdpConfig { local, peer, device: None }).unwrap());
    [Side::new(1, 2, medium(local, peer)), Side::new(2, 1, medium(peer, local))]
}

#[test]
fn heartbeats_over_udp_are_counted_and_their_delay_is_measured() {
    let mut sides = udp_sides();
    beat(&mut sides, 10);
    for side in &sides {
        let view = side.path.view();
        assert_eq!((view.sent, view.not_sent, view.received, view.lost), (10, 0, 10, 0));
        assert_eq!(view.refused, [0; Refused::COUNT]);
        // The peer held each for up to 50 ms: that is not counted, but for the polling of this test.
        assert!(view.delay.unwrap().least < Span::from_millis(5), "{:?}", view.delay);
        assert!(view.heard.unwrap() <= now());
    }
}

#[test]
fn heartbeats_over_a_serial_line_are_counted_and_their_delay_is_the_lines() {
    let relay = Relay::start();
    let medium = |device| Medium::Serial(SerialPath::new(SerialConfig { device, baud: 115_200 }).unwrap());
    let mut sides = [Side::new(1, 2, medium(relay.one())), Side::new(2, 1, medium(relay.other()))];
    beat(&mut sides, 10);
    for side in &sides {
        let view = side.path.view();
        assert_eq!((view.sent, view.not_sent, view.received, view.lost, view.damaged), (10, 0, 10, 0, 0));
        // 25 bytes and 16 of an echo and 5 of a path's, sealed and framed: 99 bytes are 8.6 ms.
        let delay = view.delay.unwrap();
        assert!(delay.smoothed > Span::from_millis(5) && delay.least < Span::from_millis(40), "{delay:?}");
    }
}

#[test]
fn what_is_refused_is_counted_by_kind_and_reaches_nobody() {
    let mut sides = udp_sides();
    let [one, other] = &mut sides;
    let stranger = Keys::single(Key::new(KeyId(1), [8; 32]));
    one.codec.set_keys(stranger);
    one.beat();
    one.codec.set_keys(Keys::single(Key::new(KeyId(9), [7; 32])));
    one.beat();
    let begin = Wall::now();
    while other.path.view().refused.iter().sum::<u64>() < 2 && begin.elapsed() < Duration::from_secs(10) {
        other.listen();
    }
    let view = other.path.view();
    assert_eq!(view.refused[Refused::BadSeal.index()], 1);
    assert_eq!(view.refused[Refused::UnknownKey(KeyId(9)).index()], 1);
    assert_eq!((view.received, view.heard, other.newest), (0, None, None));
}

#[test]
fn a_closed_path_counts_what_it_did_not_send() {
    let medium =
        Medium::Serial(SerialPath::new(SerialConfig { device: "/nonexistent/ttyS9".into(), baud: 115_200 }).unwrap());
    let mut path = Path::new(Channel::new(0).unwrap(), medium);
    path.tick(now());
    let identity = Identity {
        own: BoxId(1),
        incarnation: INCARNATION,
        peer: BoxId(2),
        peer_floor: Incarnation::default(),
        versions: SPOKEN,
    };
    let mut codec = Codec::new(&identity, Keys::single(Key::new(KeyId(1), [7; 32]))).unwrap();
    assert_eq!(path.send(&mut codec, &Heartbeat::default(), now()).unwrap(), Sent::Not);
    assert_eq!((path.view().sent, path.view().not_sent), (0, 1));
    assert_eq!(path.trouble(), Some("No such file or directory (os error 2)"));
    assert!(path.fd().is_none() && !path.wants_write() && path.next_deadline().is_some());
}
