use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::super::transport::Marked;
use super::*;
use crate::config::probe::{Login, MailboxProbe, Security, SmtpProbe, TlsOptions};
use crate::config::{Check, Probe};
use crate::core::check::{FailureKind, Verdict};
use crate::core::target::{Pace, Question, Via};
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
fn a_connection_that_needs_no_farewell_is_ended_by_rst_before_a_program_has_it_or_after() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(matches!(verdict(Probe::Tcp, listener.local_addr().unwrap(), 5000), Verdict::Success(_)));
    listener.set_nonblocking(true).unwrap();
    // The handshake's last ACK is put off, on a busy machine not long enough; a FIN would complete it, too.
    match listener.accept() {
        Ok((mut stream, _)) => {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(stream.read(&mut [0]).map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
        }
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
    }
}

#[test]
fn a_connection_ends_when_the_server_has_answered_the_farewell_and_not_before() {
    let (send, heard) = std::sync::mpsc::channel();
    let address = server(move |mut stream| {
        let heard = say_and_hear(&mut stream, &["220 mx1 ESMTP\r\n", "250 mx1\r\n"]);
        // Part of an answer is none.
        _ = stream.write_all(b"221 ");
        _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
        let before = stream.read(&mut [0; 9]).map_err(|error| error.kind());
        _ = stream.write_all(b"bye\r\n");
        _ = stream.set_read_timeout(Some(PATIENCE));
        let begun = Instant::now();
        let end = stream.read(&mut [0; 9]).map_err(|error| error.kind());
        _ = send.send((heard, before, end, begun.elapsed()));
    });
    let mut stage = Stage::new([target(smtp(), address, 60_000, 5000)]);
    assert!(matches!(stage.next().outcome.verdict, Verdict::Success(_)));
    let (heard, before, end, took) = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(heard, "EHLO lbd-probe.invalid\r\nQUIT\r\n");
    assert_eq!(before, Err(io::ErrorKind::WouldBlock), "it is waited for");
    assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "no TIME_WAIT, and the socket connects anew");
    assert!(took < Duration::from_millis(300), "at once, not when patience ends: {took:?}");
}

#[test]
fn a_server_that_closes_after_the_farewell_without_a_word_has_parted_and_its_socket_is_used_again() {
    let (send, ports) = std::sync::mpsc::channel();
    let address = server(move |mut stream| {
        let port = stream.peer_addr().map(|from| from.port());
        say_and_hear(&mut stream, &["220 mx1 ESMTP\r\n", "250 mx1\r\n"]);
        drop(stream);
        _ = send.send(port.unwrap_or(0));
    });
    let mut stage = Stage::new([target(smtp(), address, 100, 90)]);
    for _ in 0..5 {
        let outcome = stage.next().outcome;
        assert!(matches!(outcome.verdict, Verdict::Success(_)), "{:?}", outcome.verdict);
        assert_ne!(ports.recv_timeout(PATIENCE).unwrap(), 0);
    }
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
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Nobody accepts: the kernel completes the handshakes, and the connections end by themselves.
    let address = |number: u16| SocketAddr::from(([127, 2, number.to_be_bytes()[0], number.to_be_bytes()[1]], port));
    let mut stage = Stage::new((0..2000).map(|number| target(Probe::Tcp, address(number), 1000, 500)));
    let mut last: BTreeMap<Target, Instant> = BTreeMap::new();
    let mut counts: BTreeMap<Target, u32> = BTreeMap::new();
    // The kernel's queue of unaccepted connections is short: it must be emptied.
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(4600) {
        let Some(answer) = stage.next_within(Duration::from_millis(100)) else { continue };
        assert!(matches!(answer.outcome.verdict, Verdict::Success(_)), "{:?}", answer.outcome);
        let target = (*answer.target).clone();
        *counts.entry(target.clone()).or_default() += 1;
        last.insert(target, Instant::now());
    }
    // Once within half a second of the start, and then in each second: four or five turns of the grid.
    assert_eq!(counts.len(), 2000);
    let stats = stage.executor.stats();
    assert_eq!((stats.put_off, stats.trouble), (0, None));
    assert!(counts.values().all(|count| (4..=6).contains(count)), "{:?}", counts.values().collect::<BTreeSet<_>>());
}

/// A certificate for a name, valid for so many days from yesterday.
fn certificate(name: &str, days: u64) -> Arc<rustls::ServerConfig> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let day = Duration::from_secs(86_400);
    let now = std::time::SystemTime::now();
    params.not_before = (now - day * 30).into();
    params.not_after = (now - day + day * u32::try_from(days).unwrap() + Duration::from_secs(3600)).into();
    let certificate = params.self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    Arc::new(config.unwrap())
}

fn tls_server(
    config: Arc<rustls::ServerConfig>,
    first: &'static [&'static str],
    then: &'static [&'static str],
) -> SocketAddr {
    server(move |mut stream| {
        say_and_hear(&mut stream, first);
        // What a client says to `first` ends with STARTTLS, to which this is the answer.
        if !first.is_empty() {
            _ = stream.write_all(b"220 go ahead\r\n");
        }
        let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut tls = rustls::Stream::new(&mut tls, &mut stream);
        for line in then {
            if tls.write_all(line.as_bytes()).is_err() {
                return;
            }
            let mut buffer = [0; 512];
            _ = tls.read(&mut buffer);
        }
        _ = tls.read(&mut [0]);
    })
}

fn tls(name: Option<&str>, min_days: Option<u16>) -> TlsOptions {
    TlsOptions { name: name.map(str::to_owned), ca_file: None, min_days }
}

#[test]
fn a_handshake_succeeds_with_any_certificate_unless_something_is_asked_of_it() {
    let soon = tls_server(certificate("mx1.example", 4), &[], &[]);
    let mut stage = Stage::new([target(Probe::Tls(tls(None, None)), soon, 60_000, 5000)]);
    let outcome = stage.next().outcome;
    assert_eq!(outcome.verdict, Verdict::Success("TLS 1.3, certificate ends in 3 days".into()));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(outcome.certificate_ends.is_some_and(|ends| ends > now + 3 * 86_400 && ends < now + 4 * 86_400));
    let (kind, words) = failure(Probe::Tls(tls(None, Some(14))), soon, 5000);
    assert_eq!(kind, FailureKind::Certificate);
    assert!(words.starts_with("certificate ends in 3 days (20") && words.ends_with("), fewer than 14"), "{words}");
    let (kind, words) = failure(Probe::Tls(tls(Some("mx2.example"), None)), soon, 5000);
    assert_eq!(kind, FailureKind::Certificate);
    assert_eq!(words, "certificate is of another name: mx1.example, not mx2.example");
    let (kind, words) = failure(Probe::Tls(tls(None, None)), server(until_end), 300);
    assert_eq!(kind, FailureKind::Silent);
    assert_eq!(words, "accepts connections, but does not answer the TLS handshake");
}

#[test]
fn a_conversation_goes_on_under_tls_where_it_asks_for_it() {
    let config = certificate("mx1.example", 90);
    let from_start = tls_server(config.clone(), &[], &["220 mx1 ESMTP\r\n", "250 mx1\r\n"]);
    let probe = |security| Probe::Smtp(SmtpProbe { security, ..SmtpProbe::default() });
    let words = |verdict| match verdict {
        Verdict::Success(words) => words,
        Verdict::Failure(failure) => panic!("{failure:?}"),
    };
    assert_eq!(words(verdict(probe(Security::Tls(tls(None, None))), from_start, 5000)), "250 after EHLO");
    let on_demand = tls_server(config, &["220 mx1 ESMTP\r\n", "250-mx1\r\n250 STARTTLS\r\n"], &["250 mx1\r\n"]);
    let starttls = |days| probe(Security::StartTls(tls(None, days)));
    assert_eq!(words(verdict(starttls(None), on_demand, 5000)), "250 after STARTTLS and EHLO");
    assert_eq!(failure(starttls(Some(365)), on_demand, 5000).0, FailureKind::Certificate);
}

#[test]
fn a_password_that_cannot_be_read_is_a_fault_of_this_box() {
    let login = Login { user: "probe".into(), password_file: "/nowhere/password".into() };
    let probe = Probe::Pop3(MailboxProbe { login: Some(login), ..MailboxProbe::default() });
    let address = server(until_end);
    let words = "cannot read /nowhere/password: no such file or directory".to_owned();
    assert_eq!(failure(probe, address, 5000), (FailureKind::Local, words));
}

#[test]
fn a_datagram_that_is_lost_is_sent_once_more_and_a_closed_port_refuses() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let mut lost = false;
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            if std::mem::replace(&mut lost, true) {
                // The question as its own answer: a response without records.
                buffer[2] |= 0x80;
                _ = socket.send_to(&buffer[..count], from);
            }
        }
    });
    let dns = || Probe::Dns(crate::config::probe::DnsProbe::default());
    assert!(matches!(verdict(dns(), address, 900), Verdict::Success(_)));
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(failure(dns(), closed, 5000).0, FailureKind::Refused);
}

#[test]
fn an_echo_is_answered_by_a_host_that_is_there() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        assert_eq!(verdict(Probe::Icmp, address.parse().unwrap(), 5000), Verdict::Success("echo answered".into()));
    }
}

#[test]
fn a_command_that_does_not_end_is_told_at_its_timeout() {
    let command = ["/bin/sh", "-c", "echo waiting for {server}; sleep 600"].map(str::to_owned).to_vec();
    let probe = Probe::Script(crate::config::probe::ScriptProbe { command });
    let words = "the command did not end, and was killed; it said: waiting for 127.0.0.1".to_owned();
    assert_eq!(failure(probe, "127.0.0.1:25".parse().unwrap(), 1000), (FailureKind::Hung, words));
}

#[test]
fn a_server_that_answers_at_its_own_address_and_not_at_the_virtual_one_is_told_apart() {
    // A listener at one address stands for the server's own, a full one for its virtual address that is not there.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.9:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _fills: Vec<_> =
        (0..4).map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50))).collect();
    let _own = TcpListener::bind(("127.0.0.8", address.port())).unwrap();
    let via = Via { server: crate::config::Name::new("pc1").unwrap(), address: [127, 0, 0, 8].into() };
    let mut wanted = target(Probe::Tcp, address, 60_000, 400);
    wanted.question.via = Some(via.clone());
    let mut stage = Stage::new([]);
    stage.executor.set([(wanted.clone(), Some(Marked { mark: 0, source: None }))].into());
    let Verdict::Failure(failure) = stage.next().outcome.verdict else { panic!("a success") };
    assert_eq!(
        failure.words,
        "no answer to the connection attempt within 400 ms, while pc1 accepts at 127.0.0.8: its loopback lacks \
         127.0.0.9, or a filter drops it"
    );
    // Refused: the server does not listen there. The verdict waits for the second answer.
    let mut refused = wanted;
    refused.question.address.set_ip([127, 0, 0, 10].into());
    stage.executor.set([(refused, Some(Marked { mark: 0, source: None }))].into());
    let Verdict::Failure(failure) = stage.next().outcome.verdict else { panic!("a success") };
    assert_eq!(failure.words, "connection refused, while pc1 accepts at 127.0.0.8: it does not listen on 127.0.0.10");
}

#[test]
fn a_target_without_a_mark_is_put_off_and_told_and_no_server_goes_down_for_it() {
    let via = Via { server: crate::config::Name::new("pc1").unwrap(), address: [127, 0, 0, 8].into() };
    let mut wanted = target(Probe::Tcp, "127.0.0.1:1".parse().unwrap(), 1000, 400);
    wanted.question.via = Some(via);
    let mut stage = Stage::new([wanted]);
    assert!(stage.next_within(Duration::from_millis(1200)).is_none());
    let stats = stage.executor.stats();
    assert!(stats.put_off > 0);
    assert_eq!(
        stats.trouble.as_deref(),
        Some("pc1 cannot be asked behind a virtual address: there is no socket mark for it")
    );
}

#[test]
fn a_daemon_that_does_not_take_answers_loses_none_of_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let (send, mut answers) = mpsc::channel(1);
    let executor = Executor::new(send).unwrap();
    executor.set([(target(Probe::Tcp, address, 100, 50), None)].into());
    std::thread::sleep(Duration::from_millis(1500));
    let mut count = 0;
    let until = Instant::now() + PATIENCE;
    while count < 10 {
        match answers.try_recv() {
            Ok(batch) => count += batch.len(),
            Err(_) => assert!(Instant::now() < until, "{count}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
