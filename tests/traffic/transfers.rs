//! What customers do: large transfers, many short connections, questions by UDP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use lbd::lab::customer::Visit;
use lbd::lab::mail::{self, CLIENT};
use lbd::lab::servers::md5::Md5;
use lbd::lab::servers::{Kind, http};

use super::stage::{Mode, Stage, TRANSLATED, ways};

/// A transfer that stands still for so long has failed.
const STALL: Duration = Duration::from_secs(20);

/// Fetches so many bytes, and sends them back. The server's name, and the MD5 of what came here and there.
pub fn transfer(from: Option<IpAddr>, target: SocketAddr, size: u64) -> std::io::Result<(String, String, String)> {
    let stream = connect(from, target)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    write!(stream, "GET /bytes/{size} HTTP/1.1\r\nHost: site\r\n\r\n")?;
    let server = server_of(&mut reader)?;
    let mut body = vec![0; size as usize];
    reader.read_exact(&mut body)?;
    let mut down = Md5::new();
    down.update(&body);
    write!(stream, "POST / HTTP/1.1\r\nHost: site\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(&body)?;
    server_of(&mut reader)?;
    let mut up = String::new();
    reader.read_to_string(&mut up)?;
    Ok((server, down.hex(), up.trim().to_owned()))
}

pub fn connect(from: Option<IpAddr>, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(target), socket2::Type::STREAM, None)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.connect_timeout(&target.into(), STALL)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    Ok(stream)
}

/// Reads the head of a good answer; who gave it.
fn server_of(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut server = String::new();
    let mut line = String::new();
    reader.read_line(&mut line)?;
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    while line != "\r\n" {
        line.clear();
        assert_ne!(reader.read_line(&mut line)?, 0, "the headers have an end");
        if let Some(name) = line.strip_prefix("Server: ") {
            server = name.trim().to_owned();
        }
    }
    Ok(server)
}

#[test]
fn twenty_megabytes_arrive_unchanged_both_ways_in_every_mode() {
    const SIZE: u64 = 20_000_000;
    let stage = Stage::of(2, "maglev");
    let expected = http::bytes_digest(SIZE);
    let translated = [(Mode::Nat, false, TRANSLATED), (Mode::FullNat, true, TRANSLATED)];
    for (mode, v6, port) in ways().map(|(mode, v6)| (mode, v6, 80)).chain(translated) {
        let target = mode.at(v6, port);
        let (_, down, up) = stage.host(CLIENT).enter(move || transfer(None, target, SIZE)).unwrap().unwrap();
        assert_eq!(down, expected, "from {target}, {mode:?}");
        assert_eq!(up, expected, "to {target}, {mode:?}");
    }
    stage.end(&[]);
}

#[test]
fn thousands_of_short_connections_are_spread_and_none_fails() {
    const EACH: usize = 2_000;
    let stage = Stage::of(3, "maglev");
    for (mode, v6) in ways() {
        let customers = mail::customers(v6);
        let tally = stage.visit(Visit::new(Kind::Echo, mode.at(v6, 7)).times(EACH).from(customers.clone()));
        // A third each, give or take; six standard deviations are 126.
        for pc in ["pc1", "pc2", "pc3"] {
            assert!((540..=795).contains(&tally.of(pc)), "{mode:?} {v6}: {tally:?}");
        }
        // Full NAT alone hides the customer.
        if mode == Mode::FullNat {
            assert_eq!(tally.seen_as, [mail::SOURCE_NAT[usize::from(v6)]].into());
        } else {
            assert_eq!(tally.seen_as, customers.into_iter().collect());
        }
    }
    let totals: u64 = stage.members().iter().map(|m| m["connections"]["total"].as_u64().unwrap()).sum();
    assert_eq!(totals, 6 * EACH as u64, "every connection was scheduled once");
    stage.end(&[]);
}

#[test]
fn many_clients_ask_by_udp_and_each_is_answered() {
    const EACH: usize = 2_000;
    let stage = Stage::of(3, "maglev");
    for (mode, v6) in ways() {
        let visit = Visit::new(Kind::Echo, mode.at(v6, 7)).by_udp().times(EACH).from(mail::customers(v6));
        let tally = stage.visit(visit);
        for pc in ["pc1", "pc2", "pc3"] {
            assert!((540..=795).contains(&tally.of(pc)), "{mode:?} {v6}: {tally:?}");
        }
    }
    // 20,000 flows of one datagram each are remembered for a minute, in sets of a few: some sets overflow.
    stage.end(&["event/embryo-evicted"]);
}

#[test]
fn megabytes_of_datagrams_come_back_unchanged_and_none_is_lost() {
    let stage = Stage::of(2, "maglev");
    for (mode, v6) in ways() {
        let target = mode.at(v6, 7);
        let (sent, received) = stage.host(CLIENT).enter(move || stream_of_datagrams(target, 3_000_000)).unwrap();
        assert_eq!(sent, received, "{mode:?} {target}");
    }
    stage.end(&[]);
}

/// Sends so many bytes in full-sized datagrams and takes what comes back: the MD5 of both.
fn stream_of_datagrams(target: SocketAddr, bytes: usize) -> (String, String) {
    // Behind the server's name in its answer, still below an MTU of 1,500.
    const SIZE: usize = 1_400;
    /// On the way at once: far less than a socket's buffer.
    const WINDOW: usize = 16;
    let socket = datagrams(None, target);
    let (mut sent, mut received) = (Md5::new(), Md5::new());
    let mut buffer = [0; 2_048];
    let mut at = 0;
    while at < bytes {
        for _ in 0..WINDOW {
            let datagram: Vec<u8> = (at..at + SIZE).map(|n| http::byte_at(n as u64)).collect();
            sent.update(&datagram);
            assert_eq!(socket.send(&datagram).unwrap(), SIZE);
            at += SIZE;
        }
        for _ in 0..WINDOW {
            let length = socket.recv(&mut buffer).expect("no datagram is lost");
            received.update(&buffer[length - SIZE..length]);
        }
    }
    (sent.hex(), received.hex())
}

/// A socket that takes answers from `target` alone.
pub fn datagrams(from: Option<IpAddr>, target: SocketAddr) -> UdpSocket {
    let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind(SocketAddr::new(from.unwrap_or(any), 0)).unwrap();
    socket.connect(target).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}
