use super::relay::{Relay, STEP};
use super::serial::SerialConfig;
use super::udp::UdpConfig;
use super::*;
use crate::pair::heartbeat::{BoxId, Echo, Incarnation, State};
use crate::pair::key::{Key, KeyId, Keys};
use crate::pair::seal::Refused;
use crate::pair::version::SPOKEN;
use crate::pair::wire::Identity;

const INCARNATION: Incarnation = Incarnation { boot: 3, start: 1 };
const BEGIN: Instant = Instant(5_000_000_000);

fn keys(id: u8, byte: u8) -> Keys {
    Keys::single(Key::new(KeyId(id), [byte; 32]))
}

fn codec(own: u64, peer: u64) -> Codec {
    let (own, peer) = (BoxId(own), BoxId(peer));
    let identity =
        Identity { own, incarnation: INCARNATION, peer, peer_floor: Incarnation::default(), versions: SPOKEN };
    Codec::new(&identity, keys(1, 7)).unwrap()
}

/// One of two boxes that beat over one path.
struct Side {
    codec: Codec,
    path: Path,
    newest: Option<Echo>,
}

impl Side {
    fn new(own: u64, peer: u64, medium: Medium) -> Self {
        let mut path = Path::new(Channel::new(2).unwrap(), medium);
        path.tick(BEGIN);
        assert!(path.fd().is_some(), "{:?}", path.trouble());
        Self { codec: codec(own, peer), path, newest: None }
    }

    fn beat(&mut self, now: Instant) {
        let heartbeat =
            Heartbeat { stamp: now.stamp(), echo: self.newest, state: State::Standby, ..Heartbeat::default() };
        self.path.send(&mut self.codec, &heartbeat, now).unwrap();
    }

    fn listen(&mut self, now: Instant) {
        let newest = &mut self.newest;
        self.path.drain(&mut self.codec, &mut || now, &mut |received, at| {
            assert_eq!(at, now);
            let heartbeat = &received.heartbeat;
            *newest = Some(Echo { incarnation: heartbeat.incarnation, stamp: heartbeat.stamp });
        });
    }

    /// Listens until it has heard so many, refused ones included.
    fn listen_for(&mut self, count: u64, now: Instant) {
        let begin = std::time::Instant::now();
        let heard = |view: View| view.received + view.refused.iter().sum::<u64>();
        while heard(self.path.view()) < count && begin.elapsed() < std::time::Duration::from_secs(20) {
            self.listen(now);
        }
    }
}

fn udp_sides() -> [Side; 2] {
    let [one, other] = [0, 0].map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let (local, peer) = (one.local_addr().unwrap(), other.local_addr().unwrap());
    drop((one, other));
    let medium =
        |local, peer| Medium::Udp(UdpPath::new(UdpConfig { local, peer, device: None, queue_bytes: None }).unwrap());
    [Side::new(1, 2, medium(local, peer)), Side::new(2, 1, medium(peer, local))]
}

#[test]
fn heartbeats_over_udp_are_counted_and_their_delay_is_measured() {
    let mut sides = udp_sides();
    let mut now = BEGIN;
    for number in 1..=10 {
        let [one, other] = &mut sides;
        // 3 ms there, held for 20, 5 ms back, and 22 until the next.
        one.beat(now);
        now = now + Span::from_millis(3);
        other.listen_for(number, now);
        now = now + Span::from_millis(20);
        other.beat(now);
        now = now + Span::from_millis(5);
        one.listen_for(number, now);
        now = now + Span::from_millis(22);
    }
    for side in &sides {
        let view = side.path.view();
        assert_eq!((view.sent, view.not_sent, view.received, view.lost), (10, 0, 10, 0));
        assert_eq!(view.refused, [0; Refused::COUNT]);
        let delay = view.delay.unwrap();
        assert_eq!((delay.least, delay.last, delay.jitter), (Span::from_millis(4), Span::from_millis(4), Span::ZERO));
    }
    assert_eq!(sides[1].path.view().heard, Some(now - Span::from_millis(47)));
}

#[test]
fn heartbeats_over_a_serial_line_are_counted_and_their_delay_is_the_lines() {
    let mut relay = Relay::new(BEGIN);
    let medium = |device| Medium::Serial(SerialPath::new(SerialConfig { device, baud: 115_200 }).unwrap());
    let mut sides = [Side::new(1, 2, medium(relay.device(0))), Side::new(2, 1, medium(relay.device(1)))];
    let mut now = BEGIN;
    for step in 0..540 {
        if step < 500 && step % 50 == 0 {
            sides[0].beat(now);
        }
        // At another time, so that each echo was held for a while.
        if step < 500 && step % 50 == 30 {
            sides[1].beat(now);
        }
        now = now + STEP;
        let bytes = [0, 1].map(|end: usize| match &sides[end].path.medium {
            Medium::Serial(line) => line.bytes(),
            Medium::Udp(_) => panic!("not a line"),
        });
        relay.pass(now, bytes);
        for (end, side) in sides.iter_mut().enumerate() {
            side.path.tick(now);
            // The relay waits for the kernel; what it gave is read here.
            let expected = relay.given(end);
            let begin = std::time::Instant::now();
            while read(side) < expected && begin.elapsed() < std::time::Duration::from_secs(20) {
                side.listen(now);
            }
        }
    }
    for side in &sides {
        let view = side.path.view();
        assert_eq!((view.sent, view.not_sent, view.received, view.lost, view.damaged), (10, 0, 10, 0, 0));
        // 99 bytes, with an echo and a path's echo, are 8.6 ms, and the first, without, 6.8. The relay goes by milliseconds.
        let delay = view.delay.unwrap();
        assert!(delay.least >= Span::from_millis(7) && delay.smoothed <= Span::from_millis(10), "{delay:?}");
    }
}

fn read(side: &Side) -> u64 {
    match &side.path.medium {
        Medium::Serial(line) => line.bytes().read,
        Medium::Udp(_) => 0,
    }
}

#[test]
fn what_is_refused_is_counted_by_kind_and_reaches_nobody() {
    let [mut one, mut other] = udp_sides();
    one.codec.set_keys(keys(1, 8));
    one.beat(BEGIN);
    one.codec.set_keys(keys(9, 7));
    one.beat(BEGIN);
    other.listen_for(2, BEGIN);
    let view = other.path.view();
    assert_eq!(view.refused[Refused::BadSeal.index()], 1);
    assert_eq!(view.refused[Refused::UnknownKey(KeyId(9)).index()], 1);
    assert_eq!((view.received, view.heard, other.newest), (0, None, None));
}

#[test]
fn a_closed_path_counts_what_it_did_not_send() {
    let config = SerialConfig { device: "/nonexistent/ttyS9".into(), baud: 115_200 };
    let mut path = Path::new(Channel::new(0).unwrap(), Medium::Serial(SerialPath::new(config).unwrap()));
    path.tick(BEGIN);
    assert_eq!(path.send(&mut codec(1, 2), &Heartbeat::default(), BEGIN).unwrap(), Sent::Not);
    assert_eq!((path.view().sent, path.view().not_sent), (0, 1));
    assert_eq!(path.trouble(), Some("No such file or directory (os error 2)"));
    assert!(path.fd().is_none() && !path.wants_write());
    assert_eq!(path.next_deadline(), Some(BEGIN + REOPEN_PAUSE));
}
