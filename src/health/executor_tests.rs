use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::*;
use crate::config::probe::SmtpProbe;
use crate::config::{Check, Probe};
use crate::core::check::{FailureKind, Verdict};
use crate::core::target::{Pace, Question};
use crate::os::clock;

/// Longer than anything that is waited for; a test that runs into it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn target(probe: Probe, address: SocketAddr, interval_ms: u64, timeout_ms: u64) -> Target {
    let interval = Duration::from_millis(interval_ms);
    let timeout = Duration::from_millis(timeout_ms);
    let pace = Pace { interval, timeout, ..Pace::of(&Check::default()) };
    Target { question: Question { address, via: None, probe: probe.into() }, pace }
}

fn smtp() -> Probe {
    Probe::Smtp(SmtpProbe::default())
}

/// An executor and what it answers.
struct Stage {
    executor: Executor,
    answers: mpsc::Receiver<Vec<Answer>>,
    waiting: std::collections::VecDeque<Answer>,
}

impl Stage {
    fn new(wanted: impl IntoIterator<Item = Target>) -> Self {
        let (send, answers) = mpsc::channel(16);
        let executor = Executor::new(send).unwrap();
        executor.set(wanted.into_iter().map(|target| (target, None)).collect());
        Self { executor, answers, waiting: Default::default() }
    }

    fn next_within(&mut self, time: Duration) -> Option<Answer> {
        let until = Instant::now() + time;
        loop {
            if let Some(answer) = self.waiting.pop_front() {
                return Some(answer);
            }
            match self.answers.try_recv() {
                Ok(batch) => self.waiting.extend(batch),
                Err(_) if Instant::now() >= until => return None,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn next(&mut self) -> Answer {
        self.next_within(PATIENCE).expect("an answer")
    }
}

/// Serves each connection on a thread of its own.
fn server(serve: impl Fn(std::net::TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The first verdict about a server.
fn verdict(probe: Probe, address: SocketAddr, timeout_ms: u64) -> Verdict {
    Stage::new([target(probe, address, 60_000, timeout_ms)]).next().outcome.verdict
}

fn failure(probe: Probe, address: SocketAddr, timeout_ms: u64) -> (FailureKind, String) {
    match verdict(probe, address, timeout_ms) {
        Verdict::Failure(failure) => (failure.kind, failure.words),
        Verdict::Success(words) => panic!("a success: {words}"),
    }
}

fn until_end(mut stream: std::net::TcpStream) {
    _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// Says a line, and waits for one, in turn.
fn say_and_hear(stream: &mut std::net::TcpStream, lines: &[&str]) -> String {
    let mut heard = String::new();
    for line in lines {
        stream.write_all(line.as_bytes()).unwrap();
        let mut buffer = [0; 512];
        let count = stream.read(&mut buffer).unwrap_or(0);
        heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    heard
}

#[test]
fn an_open_port_succeeds_and_a_closed_one_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(verdict(Probe::Tcp, address, 5000), Verdict::Success("connection opened".into()));
    drop(listener);
    assert_eq!(failure(Probe::Tcp, address, 5000), (FailureKind::Refused, "connection refused".into()));
}

#[test]
fn a_connection_that_needs_no_farewell_is_ended_by_rst() {
    let (send, ends) = std::sync::mpsc::channel();
    let address = server(move |mut stream| _ = send.send(stream.read(&mut [0]).map_err(|error| error.kind())));
    assert!(matches!(verdict(Probe::Tcp, address, 5000), Verdict::Success(_)));
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), Err(io::ErrorKind::ConnectionReset));
}

#[test]
fn a_conversation_ends_with_its_farewell_and_the_server_closes_in_peace() {
    let (send, heard) = std::sync::mpsc::channel();
    let address = server(move |mut stream| {
        let heard = say_and_hear(&mut stream, &["220 mx1 ESMTP\r\n", "250 mx1\r\n"]);
        _ = stream.write_all(b"221 bye\r\n");
        _ = stream.shutdown(std::net::Shutdown::Write);
        let end = stream.read(&mut [0; 9]).map_err(|error| error.kind());
        _ = send.send((heard, end));
    });
    assert!(matches!(verdict(smtp(), address, 5000), Verdict::Success(_)));
    let (heard, end) = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(heard, "EHLO lbd-probe.invalid\r\nQUIT\r\n");
    assert_eq!(end, Ok(0), "a clean end, no RST");
}

#[test]
fn a_half_open_listener_a_hang_and_an_early_end_are_told_apart() {
    let silent = server(until_end);
    let (kind, words) = failure(smtp(), silent, 200);
    assert_eq!((kind, words.as_str()), (FailureKind::Silent, "accepts connections, but no greeting came"));
    let hangs = server(|mut stream| {
        _ = stream.write_all(b"220 mx1 ESMTP\r\n");
        until_end(stream);
    });
    let (kind, words) = failure(smtp(), hangs, 300);
    assert_eq!((kind, words.as_str()), (FailureKind::Hung, "no answer to EHLO"));
    assert_eq!(failure(smtp(), server(drop), 5000).0, FailureKind::Closed);
}

#[test]
fn a_server_that_answers_no_connection_attempt_is_told_with_the_time_that_it_had() {
    // A full backlog: Linux drops further attempts.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _fills: Vec<_> =
        (0..4).map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50))).collect();
    assert_eq!(
        failure(Probe::Tcp, address, 300),
        (FailureKind::Timeout, "no answer to the connection attempt within 300 ms".into())
    );
}

#[test]
fn an_answer_without_an_end_is_given_up() {
    let address = server(|mut stream| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    assert_eq!(failure(smtp(), address, 10_000).0, FailureKind::Overlong);
}

#[test]
fn a_server_that_greets_slower_than_it_may_is_measured() {
    let address = server(|mut stream| {
        std::thread::sleep(Duration::from_millis(150));
        say_and_hear(&mut stream, &["220 mx1 ESMTP\r\n", "250 mx1\r\n"]);
    });
    let outcome = Stage::new([target(smtp(), address, 60_000, 5000)]).next().outcome;
    assert!(matches!(outcome.verdict, Verdict::Success(_)));
    assert!(outcome.took >= Duration::from_millis(150), "{:?}", outcome.took);
}

#[test]
fn a_target_that_is_no_longer_wanted_is_asked_no_more_and_its_connection_ends() {
    let (send, ends) = std::sync::mpsc::channel();
    let address = server(move |mut stream| {
        _ = send.send(None);
        _ = send.send(Some(stream.read(&mut [0]).map_err(|error| error.kind())));
    });
    let mut stage = Stage::new([target(smtp(), address, 60_000, 30_000)]);
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), None, "it is being asked");
    stage.executor.set(Wanted::new());
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), Some(Err(io::ErrorKind::ConnectionReset)));
    assert!(stage.next_within(Duration::from_millis(50)).is_none());
}

#[test]
fn a_target_can_be_asked_before_its_turn_and_others_are_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let one = target(Probe::Tcp, address, 600_000, 1000);
    let two = target(Probe::Tcp, address, 500_000, 1000);
    let mut stage = Stage::new([one.clone(), two.clone()]);
    let first: BTreeSet<_> = [stage.next(), stage.next()].map(|answer| (*answer.target).clone()).into();
    assert_eq!(first, [one.clone(), two].into());
    stage.executor.hurry(&one, clock::now());
    assert_eq!(*stage.next().target, one);
    assert!(stage.next_within(Duration::from_millis(50)).is_none());
}

#[test]
fn two_thousand_targets_keep_their_clock() {
    let address = server(until_end);
    let interval_ms = 100;
    // The names make them different.
    let probe =
        |number| Probe::Smtp(SmtpProbe { helo: Some(format!("probe-{number}.invalid")), ..SmtpProbe::default() });
    let mut stage = Stage::new((0..2000).map(|number| target(probe(number), address, 1000, 200)));
    let _ = interval_ms;
    let mut counts = BTreeMap::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        if let Some(answer) = stage.next_within(Duration::from_millis(100)) {
            *counts.entry((*answer.target).clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(counts.len(), 2000);
}
