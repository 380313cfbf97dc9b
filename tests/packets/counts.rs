//! Random lives of many connections: what is counted is what the table holds, after every step.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lbd::config::Mode;
use proptest::prelude::*;

use super::frame::*;
use super::site::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Client {
        flags: u8,
        ack: u8,
    },
    Server {
        flags: u8,
    },
    ClientDatagram,
    ServerDatagram,
    /// A server fails, or comes back.
    Down {
        server: u8,
        down: bool,
    },
    Cut {
        server: u8,
    },
    Sweep,
}

const SERVERS: u8 = 2;
const FLOWS: u16 = 4;

fn event() -> impl Strategy<Value = Event> {
    let usual = prop::sample::select(vec![SYN, ACK, ACK, ACK, FIN | ACK, RST, RST | ACK]);
    let answer = prop::sample::select(vec![SYN | ACK, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK]);
    prop_oneof![
        8 => (usual, any::<u8>()).prop_map(|(flags, ack)| Event::Client { flags, ack }),
        6 => answer.prop_map(|flags| Event::Server { flags }),
        1 => (0u8..32, any::<u8>()).prop_map(|(flags, ack)| Event::Client { flags, ack }),
        1 => (0u8..32).prop_map(|flags| Event::Server { flags }),
        3 => Just(Event::ClientDatagram),
        2 => Just(Event::ServerDatagram),
        1 => (1..=SERVERS, any::<bool>()).prop_map(|(server, down)| Event::Down { server, down }),
        1 => (1..=SERVERS).prop_map(|server| Event::Cut { server }),
        1 => Just(Event::Sweep),
    ]
}

/// What the test knows of a flow: its server, and as whom that sees the client.
type Known = BTreeMap<(Family, u16, bool), (u8, SocketAddr)>;

struct Play {
    site: Site,
    known: Known,
    /// So that one case does not find the ports of another.
    epoch: u16,
}

impl Play {
    fn new(mode: Mode) -> Self {
        let pools = [Pool::tcp("smtp", 25, mode).servers(1..=SERVERS), Pool::udp("dns", 53, mode).servers(1..=SERVERS)];
        let mut site = Site::new(pools);
        site.source_nat(1024, 65535);
        Self { site, known: BTreeMap::new(), epoch: 0 }
    }

    fn step(&mut self, family: Family, flow: u16, event: Event) {
        let ends = |epoch: u16, udp: bool| {
            (at(client(family, epoch), 4000 + flow), at(vip(family, 1), if udp { 53 } else { 25 }))
        };
        let udp = matches!(event, Event::ClientDatagram | Event::ServerDatagram);
        let (c, v) = ends(self.epoch, udp);
        let key = (family, flow, udp);
        match event {
            Event::Client { flags, ack } => self.client_sends(key, &Frame::tcp(c, v, flags).ack(ack.into())),
            Event::ClientDatagram => self.client_sends(key, &Frame::udp(c, v, b"question")),
            Event::Server { flags } => self.server_sends(key, |s, c| Frame::tcp(s, c, flags)),
            Event::ServerDatagram => self.server_sends(key, |s, c| Frame::udp(s, c, b"answer")),
            Event::Down { server, down } => {
                for service in ["smtp", "dns"] {
                    self.site.dest(service, family, server).down = down;
                }
                self.site.apply();
            }
            Event::Cut { server } => {
                for service in ["smtp", "dns"] {
                    self.site.cut(&Site::key(service, family, server));
                }
            }
            Event::Sweep => {
                self.site.dp.sweep_embryos().unwrap();
                self.site.dp.sweep_step().unwrap();
            }
        }
    }

    fn client_sends(&mut self, key: (Family, u16, bool), frame: &Frame) {
        let out = self.site.send(frame);
        if out.counted.contains(&"to-server") {
            let l4 = if key.0 == V4 { 34 } else { 54 };
            let port = u16::from_be_bytes([out.frame[l4], out.frame[l4 + 1]]);
            let ours = out.frame[l4 - 8..l4 - 4] != frame.bytes()[l4 - 8..l4 - 4] || port != 4000 + key.1;
            let as_whom = if ours && port != 4000 + key.1 { at(snat(key.0), port) } else { at(frame.src, port) };
            self.known.insert(key, (out.frame[5], as_whom));
        }
    }

    fn server_sends(&mut self, key: (Family, u16, bool), frame: impl Fn(SocketAddr, SocketAddr) -> Frame) {
        let Some((n, as_whom)) = self.known.get(&key) else { return };
        let server = at(server(key.0, *n), if key.2 { 53 } else { 25 });
        self.site.send(&frame(server, *as_whom).between(server_mac(*n), OWN));
    }
}

fn counts_are_true_after_any_life(mode: Mode) {
    let play = std::cell::RefCell::new(Play::new(mode));
    let family = prop_oneof![Just(V4), Just(V6)];
    let lives = prop::collection::vec((family, 0..FLOWS, event()), 1..80);
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(lives in lives)| {
        let mut play = play.borrow_mut();
        play.known.clear();
        play.epoch += 1;
        for (family, flow, event) in lives {
            play.step(family, flow, event);
            play.site.assert_counts_are_true();
        }
    });
    // With everything cut and every handshake given up, nothing is left over.
    let mut play = play.into_inner();
    for (key, _) in play.site.dp.connections() {
        play.site.cut(&key);
    }
    assert!(play.site.dp.connections().values().all(|counts| counts.active == 0));
    play.site.assert_counts_are_true();
}

#[test]
fn dsr_counts_are_true_after_any_life() {
    counts_are_true_after_any_life(Mode::Dsr);
}

#[test]
fn nat_counts_are_true_after_any_life() {
    counts_are_true_after_any_life(Mode::Nat);
}

#[test]
fn full_nat_counts_are_true_after_any_life() {
    counts_are_true_after_any_life(Mode::FullNat);
}

/// Two processors at once on the same few connections: insertions, ends and removals race.
#[test]
fn counts_are_true_when_processors_race() {
    for mode in [Mode::Dsr, Mode::Nat] {
        let mut site = Site::new([Pool::tcp("smtp", 25, mode).servers(1..=SERVERS)]);
        let frames: Vec<Vec<u8>> = (0..8u16)
            .flat_map(|i| {
                let (c, v) = (at(client(V4, 1), 4000 + i), at(vip(V4, 1), 25));
                let there = [SYN, ACK, ACK, FIN | ACK, RST].map(|flags| Frame::tcp(c, v, flags));
                let back = [1, 2].into_iter().flat_map(move |n| {
                    [SYN | ACK, ACK, FIN | ACK, RST]
                        .map(|flags| Frame::tcp(at(server(V4, n), 25), c, flags).between(server_mac(n), OWN))
                });
                there.into_iter().chain(back).map(|frame| frame.bytes()).collect::<Vec<_>>()
            })
            .collect();
        std::thread::scope(|scope| {
            for thread in 0..2u64 {
                let (dp, frames) = (&site.dp, &frames);
                scope.spawn(move || {
                    // xorshift (Marsaglia 2003): the same sequence in every run.
                    let mut x = 0x9e37_79b9_7f4a_7c15 ^ thread;
                    for _ in 0..500_000 {
                        x ^= x << 13;
                        x ^= x >> 7;
                        x ^= x << 17;
                        let frame = &frames[usize::try_from(x % frames.len() as u64).unwrap()];
                        let run = dp.run(frame, LO, 1).unwrap();
                        assert_ne!(run.verdict, 0);
                    }
                });
            }
        });
        site.flood([]);
        site.assert_counts_are_true();
        let keys: Vec<_> = site.dp.connections().into_keys().collect();
        for key in keys {
            site.cut(&key);
        }
        site.assert_counts_are_true();
    }
}
