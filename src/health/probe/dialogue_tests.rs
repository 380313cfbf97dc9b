//! Dialogues as text, for the tests of all protocols by lines, and what holds for each of them.

use proptest::prelude::*;

use super::*;
use crate::config::probe::{FtpProbe, Login, MailboxProbe, Security, SmtpProbe, TlsOptions};
use crate::health::probe::account::Account;
use crate::health::probe::ftp::Ftp;
use crate::health::probe::imap::Imap;
use crate::health::probe::pop3::Pop3;
use crate::health::probe::smtp::Smtp;

pub type New<'a> = &'a dyn Fn() -> Box<dyn Conversation>;

pub fn account() -> Account {
    Account { user: "probe".into(), password: "hunter2".into() }
}

pub fn login() -> Option<Login> {
    Some(Login { user: "probe".into(), password_file: "/etc/lbd/probe.pw".into() })
}

pub fn starttls() -> Security {
    Security::StartTls(TlsOptions::default())
}

/// `up: words`, or the kind of the failure and its words.
pub fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Success(words) => format!("up: {words}"),
        Verdict::Failure(failure) => format!("{}: {}", failure.kind.word(), failure.words),
    }
}

/// What happens to a conversation, and what it must send then.
enum Event {
    Bytes(Vec<u8>),
    Tls,
    Closed,
    Timeout,
}

/// Reads `S: ` as a line of the server, `s: ` as one without its end, `C: ` as one of the client; `TLS`, `CLOSED`
/// and `TIMEOUT` as such. Lines of the server that follow each other come at once.
fn parse(script: &str) -> Vec<(Event, Vec<u8>)> {
    let mut steps: Vec<(Event, Vec<u8>)> = Vec::new();
    for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        match line.split_at_checked(3) {
            Some((side @ ("S: " | "s: "), text)) => {
                let text = if side == "S: " { format!("{text}\r\n") } else { text.to_owned() };
                match steps.last_mut() {
                    Some((Event::Bytes(bytes), sent)) if sent.is_empty() => bytes.extend_from_slice(text.as_bytes()),
                    _ => steps.push((Event::Bytes(text.into_bytes()), Vec::new())),
                }
            }
            Some(("C: ", text)) => {
                let (_, sent) = steps.last_mut().expect("the server speaks first");
                sent.extend_from_slice(format!("{text}\r\n").as_bytes());
            }
            _ => steps.push(match line {
                "TLS" => (Event::Tls, Vec::new()),
                "CLOSED" => (Event::Closed, Vec::new()),
                "TIMEOUT" => (Event::Timeout, Vec::new()),
                _ => panic!("not of a dialogue: {line}"),
            }),
        }
    }
    steps
}

/// Plays a dialogue, each burst of the server cut into pieces, and gives the verdict.
fn play(new: New, script: &str, cut: &dyn Fn(&[u8]) -> Vec<Vec<u8>>) -> String {
    let mut conversation = new();
    let mut out = Vec::new();
    let mut next = conversation.open(&mut out);
    assert_eq!((&next, out.len()), (&Next::Read, 0), "the server speaks first");
    for (event, sent) in parse(script) {
        out.clear();
        match event {
            Event::Bytes(bytes) => {
                assert_eq!(next, Next::Read, "a dialogue that is over goes on:\n{script}");
                for piece in cut(&bytes).iter().filter(|piece| !piece.is_empty()) {
                    next = conversation.received(piece, &mut out);
                }
            }
            Event::Tls => {
                assert_eq!(next, Next::StartTls, "{script}");
                next = conversation.open(&mut out);
            }
            Event::Closed => return told(&conversation.closed()),
            Event::Timeout => {
                assert_eq!(next, Next::Read, "{script}");
                return told(&Verdict::Failure(conversation.timed_out()));
            }
        }
        let (out, sent) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&sent));
        assert_eq!(out, sent, "{script}");
    }
    let Next::Done(verdict) = next else { panic!("no verdict, but {next:?}:\n{script}") };
    told(&verdict)
}

/// The verdict on a dialogue whose bursts come each in one piece.
pub fn whole(new: New, script: &str) -> String {
    play(new, script, &|bytes| vec![bytes.to_vec()])
}

/// The verdict on a dialogue, which must be the same however the bursts are cut.
pub fn verdict(new: New, script: &str) -> String {
    let told = whole(new, script);
    assert_eq!(play(new, script, &|bytes| bytes.chunks(1).map(<[u8]>::to_vec).collect()), told, "in single bytes");
    let longest = script.len();
    for at in 1..longest {
        let in_two = |bytes: &[u8]| {
            let (front, back) = bytes.split_at(at.min(bytes.len()));
            vec![front.to_vec(), back.to_vec()]
        };
        assert_eq!(play(new, script, &in_two), told, "cut at {at}:\n{script}");
    }
    told
}

/// Each dialogue with what must come of it.
pub fn check(new: New, table: &[(&str, &str)]) {
    for (script, expected) in table {
        assert_eq!(verdict(new, script), *expected, "{script}");
    }
}

fn smtp() -> Box<dyn Conversation> {
    let options = SmtpProbe {
        security: starttls(),
        login: login(),
        sender: Some("probe@example.net".into()),
        recipient: Some("postmaster@example.net".into()),
        ..Default::default()
    };
    Box::new(Smtp::new(&options, Some(account())))
}

fn mailbox() -> MailboxProbe {
    MailboxProbe { security: starttls(), login: login(), mailbox: None }
}

fn pop3() -> Box<dyn Conversation> {
    Box::new(Pop3::new(&mailbox(), Some(account())))
}

fn imap() -> Box<dyn Conversation> {
    let odd = Account { user: "probe".into(), password: "häßlich".into() };
    Box::new(Imap::new(&mailbox(), Some(odd)))
}

fn ftp() -> Box<dyn Conversation> {
    Box::new(Ftp::new(&FtpProbe { security: starttls(), login: login() }, Some(account())))
}

/// Each protocol, with the first lines of a server that is asked for TLS and offers it.
const PROTOCOLS: [(New, &str); 4] = [
    (&smtp, "S: 220 mx\nC: EHLO lbd-probe.invalid\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\n"),
    (&pop3, "S: +OK\nC: CAPA\nS: +OK\nS: STLS\nS: .\nC: STLS\n"),
    (&imap, "S: * OK hi\nC: A1 CAPABILITY\nS: * CAPABILITY STARTTLS\nS: A1 OK\nC: A2 STARTTLS\n"),
    (&ftp, "S: 220 hi\nC: AUTH TLS\n"),
];
/// What allows TLS then.
const ALLOWED: [&str; 4] = ["S: 220 go", "S: +OK go", "S: A2 OK go", "S: 234 go"];

#[test]
fn a_half_open_listener_is_told_from_one_that_stops_within_its_greeting() {
    for (new, _) in PROTOCOLS {
        assert_eq!(verdict(new, "TIMEOUT"), "silent: accepts connections, but no greeting came");
        for part in ["s: 2\nTIMEOUT", "s: 220-hello\nTIMEOUT", "s: 220 hello\nTIMEOUT"] {
            assert_eq!(verdict(new, part), "hung: greeting not complete");
        }
        assert_eq!(verdict(new, "s: 220 hello\nCLOSED"), "closed: closed within the greeting");
    }
}

#[test]
fn what_was_waited_for_is_named() {
    let commands = ["STARTTLS", "STLS", "STARTTLS", "AUTH TLS"];
    for ((new, greeting), command) in PROTOCOLS.into_iter().zip(commands) {
        assert_eq!(verdict(new, &format!("{greeting}TIMEOUT")), format!("hung: no answer to {command}"));
        assert_eq!(verdict(new, &format!("{greeting}s: 2\nTIMEOUT")), format!("hung: no complete answer to {command}"));
        assert_eq!(
            verdict(new, &format!("{greeting}CLOSED")),
            format!("closed: closed instead of an answer to {command}")
        );
        assert_eq!(
            verdict(new, &format!("{greeting}s: 2\nCLOSED")),
            format!("closed: closed within the answer to {command}")
        );
    }
}

#[test]
fn clear_text_behind_the_answer_that_begins_tls_is_refused() {
    for ((new, greeting), allowed) in PROTOCOLS.into_iter().zip(ALLOWED) {
        let expected = "malformed: clear text behind the answer that begins TLS: 250 injected";
        assert_eq!(whole(new, &format!("{greeting}{allowed}\nS: 250 injected")), expected);

        // In a piece of its own, before the handshake.
        let mut conversation = new();
        for (event, _) in parse(&format!("{greeting}{allowed}")) {
            let Event::Bytes(bytes) = event else { panic!("only bytes here") };
            conversation.received(&bytes, &mut Vec::new());
        }
        let mut out = Vec::new();
        let Next::Done(verdict) = conversation.received(b"250 injected\r\n", &mut out) else { panic!("not refused") };
        assert_eq!((told(&verdict).as_str(), out.len()), (expected, 0));
    }
}

#[test]
fn a_handshake_that_ends_badly_is_named() {
    for ((new, greeting), allowed) in PROTOCOLS.into_iter().zip(ALLOWED) {
        let script = format!("{greeting}{allowed}");
        assert_eq!(verdict(new, &format!("{script}\nCLOSED")), "tls: closed instead of the TLS handshake");
        let mut conversation = new();
        for (event, _) in parse(&script) {
            let Event::Bytes(bytes) = event else { panic!("only bytes here") };
            conversation.received(&bytes, &mut Vec::new());
        }
        assert_eq!(conversation.timed_out().words, "the TLS handshake does not end");
    }
}

#[test]
fn another_protocol_is_told_by_its_first_line() {
    for (new, _) in PROTOCOLS {
        assert_eq!(
            verdict(new, "S: HTTP/1.1 400 Bad Request"),
            "malformed: greeting is not of the protocol: HTTP/1.1 400 Bad Request"
        );
        assert_eq!(verdict(new, "S: "), "malformed: greeting is not of the protocol: ");
        assert_eq!(verdict(new, "s: \u{15}\u{3}\u{1}\0"), "malformed: a NUL byte in the greeting");
    }
}

#[test]
fn a_server_that_says_everything_at_once_is_refused() {
    let answers = [
        ("S: 220 mx\nS: 250 mx\nC: EHLO lbd-probe.invalid", "answer to EHLO"),
        ("S: +OK\nS: +OK\nC: CAPA", "answer to CAPA"),
        ("S: * OK hi\nS: A1 OK\nC: A1 CAPABILITY", "answer to CAPABILITY"),
        ("S: 220 hi\nS: 234 go\nC: AUTH TLS", "answer to AUTH TLS"),
    ];
    for ((new, _), (script, subject)) in PROTOCOLS.into_iter().zip(answers) {
        assert_eq!(whole(new, script), format!("malformed: {subject} was there before it was asked for"));
        // The second line breaks off at the end of the piece.
        let mut conversation = new();
        let (Event::Bytes(bytes), _) = &parse(script)[0] else { panic!("only bytes here") };
        let (first, last) = bytes.split_at(bytes.len() - 1);
        assert_eq!(conversation.received(first, &mut Vec::new()), Next::Read);
        assert!(matches!(conversation.received(last, &mut Vec::new()), Next::Done(Verdict::Failure(_))));
    }
}

#[test]
fn after_the_verdict_nothing_changes_it_and_nothing_is_sent() {
    for (new, _) in PROTOCOLS {
        let mut conversation = new();
        let Next::Done(verdict) = conversation.received(b"\r\n220 mx\r\n+OK\r\n", &mut Vec::new()) else {
            panic!("an empty line is no greeting")
        };
        let mut out = Vec::new();
        assert_eq!(conversation.received(b"220 mx\r\n+OK\r\n* OK\r\n", &mut out), Next::Done(verdict.clone()));
        assert_eq!(conversation.open(&mut out), Next::Done(verdict.clone()));
        assert_eq!((conversation.closed(), out.len()), (verdict.clone(), 0));
        assert_eq!(Verdict::Failure(conversation.timed_out()), verdict);
    }
}

#[test]
fn what_would_break_a_command_is_not_sent() {
    let broken = || Account { user: "probe\0".into(), ..account() };
    let conversations: [Box<dyn Conversation>; 4] = [
        Box::new(Smtp::new(&SmtpProbe { sender: Some("a>\r\nDATA".into()), ..Default::default() }, None)),
        Box::new(Pop3::new(&mailbox(), Some(broken()))),
        Box::new(Imap::new(&mailbox(), Some(broken()))),
        Box::new(Ftp::new(&FtpProbe::default(), Some(broken()))),
    ];
    for mut conversation in conversations {
        let mut out = Vec::new();
        let Next::Done(verdict) = conversation.open(&mut out) else { panic!("not refused") };
        let words = "a line end or NUL in what the probe should send: correct its user, password or address";
        assert_eq!((told(&verdict), out.len()), (format!("local: {words}"), 0));
    }
}

/// Words of the protocols and rubbish, so that a server of it comes beyond its greeting now and then.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 24] = [
        "220 mx\r\n",
        "220-",
        "250-mx\r\n250 STARTTLS\r\n",
        "250 ",
        "235 ",
        "334 \r\n",
        "421 busy\r\n",
        "550 ",
        "230 ",
        "331 ",
        "234 go\r\n",
        "+OK\r\n",
        "+OK 3 2\r\n",
        "STLS\r\n.\r\n",
        "-ERR [IN-USE] ",
        "* OK hi\r\n",
        "A1 OK\r\n",
        "* CAPABILITY STARTTLS\r\n",
        "A2 OK\r\n",
        "A3 OK\r\n",
        "+ \r\n",
        "* LIST {5}\r\n",
        "* X {99999999999999999999}",
        "* BYE\r\n",
    ];
    let piece = prop_oneof![
        12 => proptest::sample::select(WORDS.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => proptest::collection::vec(1..=255_u8, 0..5_000),
        1 => Just(b"250-a\r\n".repeat(20_000)),
        1 => Just(b"* 1 EXISTS\r\n".repeat(12_000)),
    ];
    proptest::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

/// One line each, as from a server that answers in turn.
fn answers() -> impl Strategy<Value = Vec<Vec<u8>>> {
    const LINES: [&str; 14] = [
        "220 mx",
        "250 STARTTLS",
        "250-STARTTLS",
        "235 in",
        "334 ",
        "450 no",
        "550 no",
        "+OK",
        "+OK 3 2",
        "STLS",
        ".",
        "* OK [CAPABILITY STARTTLS]",
        "A1 OK",
        "A2 OK",
    ];
    let line = prop_oneof![
        6 => proptest::sample::select(LINES.to_vec()).prop_map(|line| line.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>().prop_filter("one line", |byte| *byte != b'\n'), 0..60),
    ];
    let ended = line.prop_map(|line| [&line[..], b"\r\n"].concat());
    proptest::collection::vec(ended, 1..10)
}

/// What an operator can read: one line of at most 200 characters.
fn readable(words: &str) -> bool {
    words.chars().count() <= 200 && !words.contains(char::is_control)
}

/// Feeds all pieces and holds after each what must hold; the verdict, if there was one.
fn endure<'a>(new: New, pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Verdict> {
    let (mut conversation, mut out) = (new(), Vec::new());
    conversation.open(&mut out);
    let mut verdict = None;
    for piece in pieces {
        let mut next = conversation.received(piece, &mut out);
        if next == Next::StartTls {
            next = conversation.open(&mut out);
        }
        assert!(out.len() < 1_000, "every command is sent at most twice");
        assert!(readable(&conversation.timed_out().words));
        match (next, &verdict) {
            (Next::Done(done), None) => {
                let words = told(&done);
                assert!(readable(&words) && !words.contains("hunter2"), "{words}");
                verdict = Some(done);
            }
            (next, Some(verdict)) => assert_eq!(next, Next::Done(verdict.clone())),
            (_, None) => {}
        }
    }
    verdict
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn whatever_comes_a_conversation_stays_bounded_and_ends(bytes in hostile(), size in 1..3_000_usize) {
        for (new, _) in PROTOCOLS {
            endure(new, bytes.chunks(size));
            if bytes.len() < 10_000 {
                endure(new, bytes.chunks(1));
            }
            // As long as that goes on, it must end.
            let for_ever = bytes.repeat(ANSWER_BYTES_MAX / bytes.len().max(1) + 2);
            if for_ever.len() > ANSWER_BYTES_MAX {
                prop_assert!(endure(new, for_ever.chunks(size)).is_some());
            }
        }
    }

    #[test]
    fn a_server_that_answers_in_turn_is_judged_alike_however_its_lines_are_cut(
        answers in answers(), size in 1..20_usize,
    ) {
        for (new, _) in PROTOCOLS {
            let expected = endure(new, answers.iter().map(Vec::as_slice));
            prop_assert_eq!(endure(new, answers.iter().flat_map(|answer| answer.chunks(size))), expected);
        }
    }
}

#[test]
fn endless_answers_end_the_probe() {
    let greetings = ["", "S: 220 mx\nC: EHLO lbd-probe.invalid"];
    assert_eq!(verdict_of_endless(&smtp, greetings[0], b"220-a\r\n"), "overlong: over 131072 bytes up to the greeting");
    assert_eq!(
        verdict_of_endless(&smtp, greetings[1], b"250-a\r\n"),
        "overlong: over 131072 bytes up to the answer to EHLO"
    );
    assert_eq!(verdict_of_endless(&smtp, greetings[0], b"2"), "overlong: a line over 4096 bytes in the greeting");
    assert_eq!(
        verdict_of_endless(&pop3, "S: +OK\nC: CAPA\nS: +OK", b"X\r\n"),
        "overlong: over 131072 bytes up to the answer to CAPA"
    );
    assert_eq!(
        verdict_of_endless(&imap, "S: * OK\nC: A1 CAPABILITY", b"* OK still here\r\n"),
        "overlong: over 131072 bytes up to the answer to CAPABILITY"
    );
    assert_eq!(verdict_of_endless(&ftp, "S: 220-", b"hello\r\n"), "overlong: over 131072 bytes up to the greeting");
}

fn verdict_of_endless(new: New, greeting: &str, again: &[u8]) -> String {
    let mut conversation = new();
    for (event, _) in parse(greeting) {
        let Event::Bytes(bytes) = event else { panic!("only bytes here") };
        assert_eq!(conversation.received(&bytes, &mut Vec::new()), Next::Read);
    }
    for _ in 0..=ANSWER_BYTES_MAX / again.len() {
        if let Next::Done(verdict) = conversation.received(again, &mut Vec::new()) {
            return told(&verdict);
        }
    }
    panic!("no end")
}
