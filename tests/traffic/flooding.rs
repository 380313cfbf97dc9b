//! What XDP takes past the bridge, the bridge must not forget: an unknown MAC is flooded to every port.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lbd::lab::mail::{self, BALANCER, CLIENT};
use lbd::lab::servers::http;

use super::stage::{MEMBERSHIPS, Mode, Stage, interfaces, services};
use super::transfers::{connect, transfer};
use super::wire::{Mac, Wire};

/// The bridge forgets a MAC that it has not seen for so long.
const AGEING: Duration = Duration::from_secs(4);
/// As long as it takes to be forgotten twice over.
const STEADY: Duration = Duration::from_millis(8_500);

#[test]
fn nothing_of_a_flow_is_flooded_to_a_port_that_has_no_part_in_it() {
    const SIZE: u64 = 5_000_000;
    let mut plan = mail::plan(3);
    plan.ip(BALANCER, &format!("link set br0 type bridge ageing_time {}", AGEING.as_millis() / 10));
    let stage = Stage::bare(&plan, &[1, 2]);
    let stage = stage.balance(&(interfaces(3, "auto") + &services(&[1, 2], "round-robin")), 2 * MEMBERSHIPS);
    // pc3 is nobody's server: what it hears of others' conversations was flooded.
    let own = stage.mac("pc3", "eth0");
    let bystander = Wire::open(stage.host("pc3"), "eth0");

    let ways = [(Mode::Dsr, false), (Mode::Nat, false), (Mode::Dsr, true), (Mode::Nat, true)];
    let lines = stage.host(CLIENT).enter(move || steady(&ways.map(|(mode, v6)| mode.at(v6, 7)))).unwrap();
    assert!(lines > 100, "{lines} lines are no steady traffic");
    for (mode, v6) in ways {
        let target = mode.at(v6, 80);
        let (_, down, up) = stage.host(CLIENT).enter(move || transfer(None, target, SIZE)).unwrap().unwrap();
        let expected = http::bytes_digest(SIZE);
        assert_eq!((&down, &up), (&expected, &expected), "{target}");
    }

    // Heard last: a broadcast, which shows that it could hear.
    let pc1 = Wire::open(stage.host("pc1"), "eth0");
    let mark =
        [[0xff; 6], [2, 0, 0, 0, 9, 9]].concat().into_iter().chain([0x88, 0xb5]).chain([7; 50]).collect::<Vec<u8>>();
    pc1.send(&mark);
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut flooded = Vec::new();
    loop {
        let frame = bystander.receive(deadline).expect("the bystander hears the broadcast");
        if frame == mark {
            break;
        }
        let to: Mac = frame[..6].try_into().unwrap();
        if to[0] & 1 == 0 && to != own {
            flooded.push(frame);
        }
    }
    let bytes: usize = flooded.iter().map(Vec::len).sum();
    let heads: Vec<_> = flooded.iter().take(5).map(|frame| &frame[..frame.len().min(54)]).collect();
    assert_eq!(bytes, 0, "{} frames of others' conversations: {heads:02x?}", flooded.len());
    stage.end(&[]);
}

/// A line to each and its echo, again and again. How many there were.
fn steady(targets: &[SocketAddr]) -> usize {
    let streams = targets.iter().map(|target| connect(None, *target).unwrap());
    let mut streams: Vec<_> = streams.map(|s| (s.try_clone().unwrap(), BufReader::new(s))).collect();
    let mut line = String::new();
    for (_, reader) in &mut streams {
        reader.read_line(&mut line).unwrap();
    }
    let mut lines = 0;
    let start = Instant::now();
    while start.elapsed() < STEADY {
        for (stream, reader) in &mut streams {
            writeln!(stream, "line {lines}\r").unwrap();
            line.clear();
            reader.read_line(&mut line).unwrap();
            assert!(line.ends_with(&format!(" line {lines}\r\n")), "{line:?}");
            lines += 1;
        }
        // The pace of the traffic.
        std::thread::sleep(Duration::from_millis(50));
    }
    lines
}
