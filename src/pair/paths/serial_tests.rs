use std::time::{Duration, Instant as Wall};

use super::*;
use crate::pair::paths::relay::{BYTES_PER_SECOND, Fault, Relay, STEP};

const BAUD: u32 = 115_200;
const BEGIN: Instant = Instant(5_000_000_000);

/// Two ends of a cable, on a clock of their own.
struct Bench {
    relay: Relay,
    ends: [SerialPath; 2],
    heard: [Heard; 2],
    now: Instant,
}

#[derive(Debug, Default)]
struct Heard {
    /// With the time of arrival.
    numbers: Vec<(u32, Instant)>,
    damaged: usize,
}

impl Heard {
    fn numbers(&self) -> Vec<u32> {
        self.numbers.iter().map(|(number, _)| *number).collect()
    }

    fn drain(&mut self, path: &mut SerialPath, now: Instant) {
        path.drain(&mut || now, &mut |arrival, at| match arrival {
            Arrival::Datagram(bytes) => {
                let number = u32::from_be_bytes(bytes[..4].try_into().unwrap());
                assert_eq!(bytes, datagram(number), "a damaged frame came through");
                self.numbers.push((number, at));
            }
            Arrival::Damaged(_) => self.damaged += 1,
        });
    }
}

/// As long as the longest heartbeat, each another one, with its number in front.
fn datagram(number: u32) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((0..HEARTBEAT_BYTES_MAX - 4).map(|at| (at as u32 * 7 + number) as u8));
    bytes
}

fn path(device: PathBuf) -> SerialPath {
    let mut path = SerialPath::new(SerialConfig { device, baud: BAUD }).unwrap();
    path.tick(BEGIN);
    assert!(path.fd().is_some(), "{:?}", path.trouble());
    path
}

impl Bench {
    fn new() -> Self {
        let relay = Relay::new(BEGIN);
        let ends = [0, 1].map(|end| path(relay.device(end)));
        Self { relay, ends, heard: Default::default(), now: BEGIN }
    }

    fn step(&mut self) {
        self.now = self.now + STEP;
        let now = self.now;
        self.ends.iter_mut().for_each(|end| end.tick(now));
        self.relay.pass(now, [self.ends[0].bytes(), self.ends[1].bytes()]);
        for (at, (end, heard)) in self.ends.iter_mut().zip(&mut self.heard).enumerate() {
            self.relay.settle(at, end, |end| heard.drain(end, now));
        }
    }

    fn wait(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    fn send(&mut self, from: usize, number: u32) -> Sent {
        let call = Wall::now();
        let sent = self.ends[from].send(&datagram(number), self.now);
        assert!(call.elapsed() < Duration::from_secs(5), "the writer was held up");
        sent
    }

    /// Sends so many, one every `interval_ms`, and listens for 100 ms more. What the other end heard.
    fn run(&mut self, from: usize, first: u32, count: u32, interval_ms: u64) -> Heard {
        for number in first..first + count {
            self.send(from, number);
            self.wait(interval_ms);
        }
        self.wait(100);
        std::mem::take(&mut self.heard[1 - from])
    }
}

#[test]
fn a_clean_line_carries_every_heartbeat_of_the_fast_setting() {
    let mut bench = Bench::new();
    let heard = bench.run(0, 0, 100, 20);
    assert_eq!(heard.numbers(), (0..100).collect::<Vec<_>>());
    assert_eq!(heard.damaged, 0);
    // 113 bytes are 9.8 ms; the relay and the test go by whole milliseconds.
    for (number, at) in heard.numbers {
        let late = at.since(BEGIN + Span::from_millis(20) * u64::from(number));
        assert!(late <= Span::from_millis(12), "{number}: {late}");
    }
}

#[test]
fn both_directions_are_a_line_of_their_own() {
    let mut bench = Bench::new();
    for number in 0..20 {
        assert_eq!(bench.send(0, number), Sent::Now);
        assert_eq!(bench.send(1, 100 + number), Sent::Now);
        bench.wait(20);
    }
    assert_eq!(bench.heard[1].numbers(), (0..20).collect::<Vec<_>>());
    assert_eq!(bench.heard[0].numbers(), (100..120).collect::<Vec<_>>());
}

#[test]
fn at_most_half_of_the_line_is_used_and_the_newest_goes() {
    let mut bench = Bench::new();
    let heard = bench.run(0, 0, 1_000, 2);
    let seconds = bench.now.since(BEGIN).0 as f64 / 1e9;
    let used = bench.relay.carried[0] as f64 / seconds / BYTES_PER_SECOND as f64;
    assert!((0.45..=0.5).contains(&used), "{used} of the line");
    assert_eq!(heard.numbers().last(), Some(&999), "the last one is not left behind");
    // None waits for longer than the line stays idle, and is on its way.
    for (number, at) in heard.numbers {
        assert!(at.since(BEGIN + Span::from_millis(2) * u64::from(number)) <= Span::from_millis(14), "{number}");
    }
}

fn after_noise(fault: Fault) {
    let mut bench = Bench::new();
    bench.relay.fault = fault;
    let noisy = bench.run(0, 0, 200, 20);
    assert!(noisy.damaged > 10, "{noisy:?}");
    assert!((60..=185).contains(&noisy.numbers.len()), "{noisy:?}");
    bench.relay.fault = Fault::None;
    let heard = bench.run(0, 1_000, 20, 20);
    // What the noise left before the first one ends at its leading zero.
    assert_eq!(heard.numbers(), (1_000..1_020).collect::<Vec<_>>());
}

#[test]
fn flipped_bits_are_noticed_and_the_line_goes_on() {
    after_noise(Fault::Flip { one_in: 400 });
}

#[test]
fn dropped_bytes_are_noticed_and_the_line_goes_on() {
    after_noise(Fault::Drop { one_in: 400 });
}

#[test]
fn a_stalled_line_holds_up_nobody_and_carries_new_ones_when_it_goes_on() {
    let mut bench = Bench::new();
    bench.relay.fault = Fault::Stall;
    // The kernel keeps some 15,000 bytes for a pty, of which half a line fills 5,760 in a second.
    let mut number = 0;
    while !bench.ends[0].wants_write() && number < 1_000 {
        bench.send(0, number);
        number += 1;
        bench.wait(20);
    }
    assert!(bench.ends[0].wants_write(), "the kernel is full in the midst of a frame");
    for _ in 0..100 {
        assert_ne!(bench.send(0, number), Sent::Now);
        bench.wait(20);
    }
    assert!(bench.heard[1].numbers.is_empty());
    let held = bench.ends[0].bytes().written / 113;
    bench.relay.fault = Fault::None;
    let heard = bench.run(0, 100_000, 200, 20);
    assert_eq!(heard.damaged, 0, "no frame was left in halves");
    assert!(heard.numbers().is_sorted());
    let old = heard.numbers.iter().filter(|(number, _)| *number < 100_000).count() as u64;
    assert!(old <= held + 2, "{old} old ones, of which the kernel kept {held}");
    assert_eq!(heard.numbers().last(), Some(&100_199));
}

#[test]
fn garbage_before_a_frame_does_not_harm_it() {
    let mut bench = Bench::new();
    bench.relay.inject(&[0x41; 1_000]);
    let heard = bench.run(0, 0, 4, 50);
    assert_eq!(heard.numbers(), [0, 1, 2, 3]);
    assert_eq!(heard.damaged, 1);
}

#[test]
fn a_line_that_was_hung_up_is_opened_again_after_a_pause() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(0, 0, 2, 50).numbers(), [0, 1]);
    bench.relay.hang_up();
    bench.step();
    let pause_begins = bench.now;
    for end in &bench.ends {
        assert!(end.fd().is_none() && !end.wants_write() && end.trouble().is_some());
        assert_eq!(end.next_deadline(), Some(pause_begins + REOPEN_PAUSE));
    }
    assert_eq!(bench.send(0, 5), Sent::Not);
    bench.relay.plug(bench.now);
    bench.wait(999);
    assert!(bench.ends.iter().all(|end| end.fd().is_none()), "not before the pause is over");
    bench.wait(1);
    assert!(bench.ends.iter().all(|end| end.fd().is_some() && end.trouble().is_none()));
    assert_eq!(bench.run(0, 9, 2, 50).numbers(), [9, 10]);
    assert_eq!(bench.run(1, 11, 2, 50).numbers(), [11, 12]);
}

#[test]
fn what_waits_goes_when_the_line_is_free() {
    let mut bench = Bench::new();
    let taken = line_time(HEARTBEAT_BYTES_MAX + framing::OVERHEAD_BYTES, BAUD) * 2;
    assert_eq!(bench.send(0, 1), Sent::Now);
    assert_eq!(bench.ends[0].next_deadline(), None);
    assert_eq!(bench.send(0, 2), Sent::Later);
    assert_eq!(bench.ends[0].next_deadline(), Some(BEGIN + taken));
    assert_eq!(bench.send(0, 3), Sent::Instead);
    bench.ends[0].tick(BEGIN + taken.saturating_sub(Span(1)));
    assert!(bench.ends[0].next_deadline().is_some());
    bench.ends[0].tick(BEGIN + taken);
    assert_eq!(bench.ends[0].next_deadline(), None);
    bench.wait(50);
    assert_eq!(bench.heard[1].numbers(), [1, 3]);
}

#[test]
fn the_line_is_set_to_raw_bytes_without_flow_control() {
    use nix::sys::termios::{InputFlags, LocalFlags, cfgetospeed};
    let relay = Relay::new(BEGIN);
    let one = path(relay.device(0));
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
    path.tick(BEGIN);
    assert!(path.fd().is_none());
    assert!(path.trouble().unwrap().contains("ioctl"), "{:?}", path.trouble());
}
