use std::thread;
use std::time::{Duration, Instant as Wall};

use super::*;
use crate::pair::paths::relay::{Fault, Relay};

const BAUD: u32 = 115_200;
const BYTES_PER_SECOND: f64 = 11_520.0;

/// The clock of a test.
fn now() -> Instant {
    static START: std::sync::LazyLock<Wall> = std::sync::LazyLock::new(Wall::now);
    Instant(u64::try_from(START.elapsed().as_nanos()).unwrap() + 10_000_000_000)
}

fn path(device: &std::path::Path) -> SerialPath {
    let mut path = SerialPath::new(SerialConfig { device: device.to_owned(), baud: BAUD }).unwrap();
    path.tick(now());
    assert!(path.fd().is_some(), "{:?}", path.trouble());
    path
}

fn pair(relay: &Relay) -> (SerialPath, SerialPath) {
    (path(&relay.one()), path(&relay.other()))
}

/// A datagram as long as the longest heartbeat, all different, with its number in front.
fn datagram(number: u32) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((0..HEARTBEAT_BYTES_MAX - 4).map(|at| (at as u32 * 7 + number) as u8));
    bytes
}

#[derive(Debug, Default)]
struct Heard {
    numbers: Vec<u32>,
    damaged: usize,
}

impl Heard {
    fn drain(&mut self, path: &mut SerialPath) {
        path.drain(&mut now, &mut |arrival, _| match arrival {
            Arrival::Datagram(bytes) => {
                let number = u32::from_be_bytes(bytes[..4].try_into().unwrap());
                assert_eq!(bytes, datagram(number), "a damaged frame came through");
                self.numbers.push(number);
            }
            Arrival::Damaged(_) => self.damaged += 1,
        });
    }
}

/// Sends one every `interval` for so long, and listens meanwhile and for 300 ms more.
fn run(from: &mut SerialPath, to: &mut SerialPath, first: u32, count: u32, interval: Duration) -> Heard {
    let mut heard = Heard::default();
    let begin = Wall::now();
    let mut next = 0;
    while begin.elapsed() < interval * count + Duration::from_millis(300) {
        let at = now();
        from.tick(at);
        if next < count && begin.elapsed() >= interval * next {
            let call = Wall::now();
            from.send(&datagram(first + next), at);
            assert!(call.elapsed() < Duration::from_millis(500), "the writer was held up");
            next += 1;
        }
        heard.drain(to);
        thread::sleep(Duration::from_micros(500));
    }
    heard
}

#[test]
fn a_clean_line_carries_every_heartbeat_of_the_fast_setting() {
    let relay = Relay::start();
    let (mut one, mut other) = pair(&relay);
    let heard = run(&mut one, &mut other, 0, 50, Duration::from_millis(20));
    // A machine that is busy may make two sends of one moment: the newer one replaces the older.
    assert!(heard.numbers.len() >= 40, "{heard:?}");
    assert_eq!(heard.damaged, 0);
    assert!(heard.numbers.is_sorted());
    assert_eq!(heard.numbers.last(), Some(&49));
}

#[test]
fn both_directions_are_a_line_of_their_own() {
    let relay = Relay::start();
    let (mut one, mut other) = pair(&relay);
    assert_eq!(run(&mut one, &mut other, 0, 3, Duration::from_millis(50)).numbers, [0, 1, 2]);
    assert_eq!(run(&mut other, &mut one, 7, 3, Duration::from_millis(50)).numbers, [7, 8, 9]);
}

#[test]
fn at_most_half_of_the_line_is_used_and_the_newest_goes() {
    let relay = Relay::start();
    let (mut one, mut other) = pair(&relay);
    let begin = Wall::now();
    let before = relay.carried();
    let heard = run(&mut one, &mut other, 0, 500, Duration::from_millis(2));
    let used = (relay.carried() - before) as f64 / begin.elapsed().as_secs_f64();
    assert!(used <= BYTES_PER_SECOND / 2.0, "{used} bytes a second");
    assert!(heard.numbers.len() > 10, "{heard:?}");
    assert!(heard.numbers.is_sorted());
    assert_eq!(heard.numbers.last(), Some(&499), "the last one is not left behind");
}

#[test]
fn flipped_bits_are_noticed_and_the_line_goes_on() {
    let relay = Relay::start();
    let (mut one, mut other) = pair(&relay);
    relay.fault(Fault::Flip { one_in: 400 });
    let noisy = run(&mut one, &mut other, 0, 40, Duration::from_millis(25));
    assert!(noisy.damaged > 0, "{noisy:?}");
    relay.fault(Fault::None);
    let heard = run(&mut one, &mut other, 100, 10, Duration::from_millis(50));
    assert!(heard.numbers.len() >= 9, "{heard:?}");
}

#[test]
fn dropped_bytes_are_noticed_and_the_line_goes_on() {
    let relay = Relay::start();
    let (mut one, mut other) = pair(&relay);
    relay.fault(Fault::Drop { one_in: 400 });
    let noisy = run(&mut one, &mut other, 0, 40, Duration::from_millis(25));
    assert!(noisy.damaged > 0, "{noisy:?}");
    relay.fault(Fault::None);
    let heard = run(&mut one, &mut other, 100, 10, Duration::from_millis(50));
    assert!(heard.numbers.len() >= 9, "{heard:?}");
}

#[test]
fn a_stalled_line_holds_up_nobody_and_carries_new_ones_when_it_goes_on() {
    let relay = Relay::start();
    let (mut one, mut other) = pair(&relay);
    relay.fault(Fault::Stall);
    // As much as a pty keeps, and more.
    let heard = run(&mut one, &mut other, 0, 1_500, Duration::from_millis(2));
    assert!(heard.numbers.is_empty(), "{heard:?}");
    relay.fault(Fault::None);
    let heard = run(&mut one, &mut other, 10_000, 80, Duration::from_millis(25));
    assert_eq!(heard.numbers.last(), Some(&10_079), "{heard:?}");
    assert!(heard.numbers.is_sorted());
}

#[test]
fn garbage_before_a_frame_does_not_harm_it() {
    let relay = Relay::start();
    let (mut one, mut other) = pair(&relay);
    relay.inject(&[0x41; 1_000]);
    let heard = run(&mut one, &mut other, 0, 4, Duration::from_millis(50));
    assert_eq!(heard.numbers.last(), Some(&3), "{heard:?}");
    assert!(heard.damaged > 0);
}

#[test]
fn a_line_that_was_hung_up_is_opened_again_after_a_pause() {
    let mut relay = Relay::start();
    let (mut one, mut other) = pair(&relay);
    assert_eq!(run(&mut one, &mut other, 0, 2, Duration::from_millis(50)).numbers, [0, 1]);
    relay.hang_up();
    run(&mut one, &mut other, 2, 4, Duration::from_millis(50));
    assert!(other.fd().is_none(), "the reader has noticed");
    assert!(one.fd().is_none(), "the writer has noticed");
    assert_eq!(one.send(&datagram(0), now()), Sent::Not);
    assert!(one.trouble().is_some());
    let due = one.next_deadline().unwrap();
    assert!(due > now() && due <= now() + REOPEN_PAUSE);
    relay.restart();
    one.tick(due - Span(1));
    assert!(one.fd().is_none(), "not before the pause is over");
    let due = due.max(other.next_deadline().unwrap());
    while now() < due {
        thread::sleep(Duration::from_millis(10));
    }
    one.tick(now());
    other.tick(now());
    assert!(one.fd().is_some() && other.fd().is_some(), "{:?} {:?}", one.trouble(), other.trouble());
    assert_eq!(run(&mut one, &mut other, 9, 2, Duration::from_millis(50)).numbers, [9, 10]);
}

#[test]
fn what_waits_goes_when_the_line_is_free() {
    let relay = Relay::start();
    let (mut one, mut other) = pair(&relay);
    let begin = now();
    let taken = line_time(HEARTBEAT_BYTES_MAX + framing::OVERHEAD_BYTES, BAUD) * 2;
    assert_eq!(one.send(&datagram(1), begin), Sent::Now);
    assert_eq!(one.next_deadline(), None);
    assert_eq!(one.send(&datagram(2), begin), Sent::Later);
    assert_eq!(one.next_deadline(), Some(begin + taken));
    assert_eq!(one.send(&datagram(3), begin), Sent::Instead);
    one.tick(begin + taken.saturating_sub(Span(1)));
    assert!(one.next_deadline().is_some());
    one.tick(begin + taken);
    assert_eq!(one.next_deadline(), None);
    let mut heard = Heard::default();
    let start = Wall::now();
    while heard.numbers.len() < 2 && start.elapsed() < Duration::from_secs(10) {
        heard.drain(&mut other);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(heard.numbers, [1, 3]);
}

#[test]
fn the_line_is_set_to_raw_bytes_without_flow_control() {
    use nix::sys::termios::{InputFlags, LocalFlags, cfgetospeed};
    let relay = Relay::start();
    let one = path(&relay.one());
    let settings = tcgetattr(one.fd().unwrap()).unwrap();
    assert_eq!(cfgetospeed(&settings), BaudRate::B115200);
    assert!(!settings.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG));
    assert!(!settings.input_flags.intersects(InputFlags::IXON | InputFlags::IXOFF | InputFlags::ICRNL));
    assert!(!settings.control_flags.intersects(ControlFlags::CRTSCTS | ControlFlags::PARENB | ControlFlags::CSTOPB));
    assert!(settings.control_flags.contains(ControlFlags::CS8 | ControlFlags::CLOCAL | ControlFlags::CREAD));
}

#[test]
fn the_fast_setting_fits_115_200_baud_and_the_default_one_57_600() {
    assert!(shortest_interval(115_200) < Span::from_millis(20));
    assert!(shortest_interval(57_600) < Span::from_millis(50));
    assert!(shortest_interval(38_400) > Span::from_millis(50));
}

#[test]
fn a_speed_that_no_line_has_is_refused_and_each_known_one_is_not() {
    let config = |baud| SerialConfig { device: "/dev/null".into(), baud };
    assert_eq!(SerialPath::new(config(115_201)).unwrap_err(), UnknownSpeed(115_201));
    for baud in SPEEDS {
        assert!(SerialPath::new(config(baud)).is_ok());
    }
}

#[test]
fn what_is_no_serial_line_is_trouble() {
    let mut path = SerialPath::new(SerialConfig { device: "/dev/null".into(), baud: BAUD }).unwrap();
    path.tick(now());
    assert!(path.fd().is_none());
    assert!(path.trouble().unwrap().contains("ioctl"), "{:?}", path.trouble());
}
