//! What a hostile server can send to the probes, or anybody to the pair, and what must hold whatever it sends.
//!
//! The first byte of an input chooses how the conversation is set up, the second how the input ends. The rest is
//! what the server sends, in pieces: a byte with the length, then as much (of a datagram protocol, one each).
//!
//! Checked: no panic; what is sent is bounded; there is a verdict at the latest when `ANSWER_BYTES_MAX` is passed;
//! words are one printable line of at most 200 characters. Time and memory are watched by libFuzzer's own limits
//! (run.sh): an input of 256 bytes that is sent again and again must be through within them.

use std::sync::Arc;
use std::time::Duration;

use lbd::cli::notation::{self, Draft};
use lbd::config::{
    DnsProbe, FtpProbe, HttpProbe, Login, MailboxProbe, Security, SmtpProbe, TlsOptions,
};
use lbd::core::check::Verdict;
use lbd::core::moment::Moment;
use lbd::health::probe::account::Account;
use lbd::health::probe::dns::{Dns, Question};
use lbd::health::probe::ftp::Ftp;
use lbd::health::probe::http::{Http, Request};
use lbd::health::probe::icmp::Echo;
use lbd::health::probe::imap::Imap;
use lbd::health::probe::ldap::Ldap;
use lbd::health::probe::mysql::Mysql;
use lbd::health::probe::pop3::Pop3;
use lbd::health::probe::radius::Radius;
use lbd::health::probe::smtp::Smtp;
use lbd::health::probe::{ANSWER_BYTES_MAX, Conversation, Next, neighbour, script};
use lbd::pair::copy::{Copier, Document, Hash, Held, Standing, wire as copy_wire};
use lbd::pair::heartbeat::{BoxId, Incarnation};
use lbd::pair::key::{Key, KeyId, Keys};
use lbd::pair::paths::framing::{self, Deframer};
use lbd::pair::seal::{BODY_BYTES_MAX, Channel, Kind, Refused, Sealer};
use lbd::pair::sync::{Receiver, Sender, SenderLimits, Update, wire as sync_wire};
use lbd::pair::version::SPOKEN;
use lbd::pair::wire::{self, Codec, Identity};
use md5::{Digest, Md5};

/// Most bytes that a probe sends in one conversation.
const SENT_BYTES_MAX: usize = 16 * 1024;

/// The two bytes that begin an input, and the rest.
fn parts(data: &[u8]) -> Option<(u8, bool, &[u8])> {
    let (setup, data) = data.split_first()?;
    let (end, data) = data.split_first()?;
    // One input in eight is sent again and again, for that takes long.
    Some((*setup, *end >= 0xe0, data))
}

fn pieces(mut data: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (piece, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        found.push(piece);
        data = rest;
    }
    found
}

fn converse(conversation: &mut dyn Conversation, pieces: &[Vec<u8>], endless: bool) {
    let mut talk = Talk { out: Vec::new(), handshakes: 0, came: 0 };
    let next = conversation.open(&mut talk.out);
    if talk.step(conversation, next) {
        return;
    }
    for piece in pieces {
        if talk.hear(conversation, piece) {
            return;
        }
    }
    while endless && pieces.iter().any(|piece| !piece.is_empty()) {
        for piece in pieces {
            if talk.hear(conversation, piece) {
                return;
            }
        }
    }
    check_words(&conversation.timed_out().words);
    check(&conversation.closed());
}

struct Talk {
    out: Vec<u8>,
    handshakes: usize,
    came: usize,
}

impl Talk {
    /// True: it is over.
    fn hear(&mut self, conversation: &mut dyn Conversation, piece: &[u8]) -> bool {
        check_words(&conversation.timed_out().words);
        let next = conversation.received(piece, &mut self.out);
        self.came += piece.len();
        let over = self.step(conversation, next);
        assert!(over || self.came <= ANSWER_BYTES_MAX, "no verdict after {} bytes", self.came);
        over
    }

    fn step(&mut self, conversation: &mut dyn Conversation, mut next: Next) -> bool {
        assert!(self.out.len() <= SENT_BYTES_MAX, "{} bytes sent", self.out.len());
        if next == Next::StartTls {
            self.handshakes += 1;
            assert!(self.handshakes == 1, "TLS is begun twice");
            next = conversation.open(&mut self.out);
        }
        match next {
            Next::Read => false,
            Next::StartTls => panic!("TLS is begun within TLS"),
            Next::Done(verdict) => {
                check(&verdict);
                true
            }
        }
    }
}

fn check(verdict: &Verdict) {
    match verdict {
        Verdict::Success(words) => check_words(words),
        Verdict::Failure(failure) => check_words(&failure.words),
    }
}

fn check_words(words: &str) {
    let count = words.chars().count();
    assert!((1..=200).contains(&count), "{count} characters: {words:?}");
    assert!(!words.chars().any(char::is_control), "not printable: {words:?}");
}

/// A conversation over a stream or datagrams, as they come.
fn stream<C: Conversation>(data: &[u8], make: impl Fn(u8) -> C) {
    let Some((setup, endless, data)) = parts(data) else { return };
    let pieces: Vec<Vec<u8>> = pieces(data).into_iter().map(<[u8]>::to_vec).collect();
    converse(&mut make(setup), &pieces, endless);
}

/// As `stream`, and the same bytes in other pieces must lead to the same verdict.
fn indifferent<C: Conversation>(data: &[u8], make: impl Fn(u8) -> C) {
    stream(data, &make);
    let Some((setup, _, data)) = parts(data) else { return };
    let whole = pieces(data).concat();
    let verdict = |size: usize| {
        let (mut conversation, mut out) = (make(setup), Vec::new());
        let mut next = conversation.open(&mut out);
        for piece in whole.chunks(size) {
            if next == Next::Read {
                next = conversation.received(piece, &mut out);
            }
        }
        let end = (next == Next::Read).then(|| (conversation.timed_out(), conversation.closed()));
        (out, next, end)
    };
    assert_eq!(verdict(whole.len().max(1)), verdict(1));
}

fn account() -> Account {
    Account { user: "probe".into(), password: "hunter2".into() }
}

/// Of a set-up: whether there is an account.
fn login(setup: u8) -> Option<Account> {
    (setup & 1 != 0).then(account)
}

fn named(setup: u8) -> Option<Login> {
    login(setup).map(|account| Login { user: account.user, password_file: "/dev/null".into() })
}

fn security(setup: u8) -> Security {
    if setup & 2 != 0 { Security::StartTls(TlsOptions::default()) } else { Security::Plain }
}

pub fn smtp(data: &[u8]) {
    stream(data, |setup| {
        let address = (setup & 4 != 0).then(|| "probe@example.net".to_owned());
        let (security, login) = (security(setup), named(setup));
        let options = SmtpProbe { security, helo: None, login, sender: address.clone(), recipient: address };
        Smtp::new(&options, self::login(setup))
    });
}

fn mailbox(setup: u8) -> MailboxProbe {
    MailboxProbe { security: security(setup), login: named(setup), mailbox: None }
}

pub fn pop3(data: &[u8]) {
    stream(data, |setup| Pop3::new(&mailbox(setup), login(setup)));
}

pub fn imap(data: &[u8]) {
    stream(data, |setup| Imap::new(&mailbox(setup), login(setup)));
}

pub fn ftp(data: &[u8]) {
    stream(data, |setup| Ftp::new(&FtpProbe { security: security(setup), login: named(setup) }, login(setup)));
}

pub fn http(data: &[u8]) {
    indifferent(data, |setup| {
        let body = (setup & 1 != 0).then(|| "(?i)web ?mail$".to_owned());
        let method = if setup & 2 != 0 { "HEAD" } else { "GET" };
        let probe = HttpProbe { body, method: method.into(), ..HttpProbe::default() };
        let at = "192.0.2.80:80".parse().expect("an address");
        Http::new(Arc::new(Request::new(&probe, at).expect("a sound request")))
    });
}

pub fn ldap(data: &[u8]) {
    indifferent(data, |setup| Ldap::new(login(setup).as_ref()).expect("a sound account"));
}

pub fn mysql(data: &[u8]) {
    indifferent(data, |setup| Mysql::new(login(setup).as_ref()).expect("a sound account"));
}

const ID: u16 = 0x1234;

fn dns_question(setup: u8) -> Dns {
    let answer = (setup & 1 != 0).then(|| "10 mx.example.net.".to_owned());
    let rcode = (setup & 4 != 0).then(|| "NXDOMAIN".to_owned());
    let tcp = setup & 2 != 0;
    let probe = DnsProbe { query: "example.net".into(), record: "MX".into(), rcode, answer, tcp };
    Dns::new(Arc::new(Question::new(&probe).expect("a sound question")), ID)
}

/// Also with what every answer must have: id, answer bit, question.
pub fn dns(data: &[u8]) {
    let Some((setup, endless, rest)) = parts(data) else { return };
    if setup & 8 == 0 {
        return if setup & 2 != 0 { indifferent(data, dns_question) } else { stream(data, dns_question) };
    }
    let answer = |piece: &[u8]| {
        let (counts, records) = piece.split_at(piece.len().min(8));
        let mut counts = counts.to_vec();
        counts.resize(8, 0);
        // Flags and code; one question; then the counts of records.
        let head = [&ID.to_be_bytes(), &[counts[0] | 0x80, counts[1]], [0, 1].as_slice(), &counts[2..]].concat();
        let message = [&head, b"\x07example\x03net\0\0\x0f\0\x01".as_slice(), records].concat();
        let length = u16::try_from(message.len()).expect("below 300").to_be_bytes();
        if setup & 2 != 0 { [&length, message.as_slice()].concat() } else { message }
    };
    let pieces: Vec<Vec<u8>> = pieces(rest).into_iter().map(answer).collect();
    converse(&mut dns_question(setup), &pieces, endless);
}

const SECRET: &[u8] = b"xyzzy5461";
const RANDOM: [u8; 17] = *b"iauthenticator-16";

/// Also with what every answer must have: identifier, length, signature.
pub fn radius(data: &[u8]) {
    let Some((setup, endless, rest)) = parts(data) else { return };
    let signed = |piece: &[u8]| {
        let (code, attributes) = piece.split_first().unwrap_or((&2, &[]));
        let length = u16::try_from(20 + attributes.len()).expect("below 300").to_be_bytes();
        let head = [*code, RANDOM[0], length[0], length[1]];
        let md5 = Md5::new().chain_update(head).chain_update(&RANDOM[1..]).chain_update(attributes);
        [&head, md5.chain_update(SECRET).finalize().as_slice(), attributes].concat()
    };
    let answer = |piece: &[u8]| if setup & 2 != 0 { signed(piece) } else { piece.to_vec() };
    let pieces: Vec<Vec<u8>> = pieces(rest).into_iter().map(answer).collect();
    let login = login(setup);
    converse(&mut Radius::new(SECRET, login.as_ref(), RANDOM).expect("a sound account"), &pieces, endless);
}

/// What is no conversation: a packet or frame and what it means, a command's output, an argument of it.
pub fn packets(data: &[u8]) {
    let Some((setup, _, data)) = parts(data) else { return };
    let (four, six) = ("192.0.2.25".parse().expect("an address"), "2001:db8::25".parse().expect("an address"));
    for address in [four, six] {
        let echo = Echo::new(address, ID, 7, *b"at-token");
        // Also what it asked itself, with bytes changed: that is what answers and errors are made of.
        let request = echo.request();
        for packet in [data.to_vec(), [data, &request].concat(), [request.as_slice(), data].concat()] {
            for from in [four, six] {
                if let Some(verdict) = echo.heard(from, &packet) {
                    check(&verdict);
                }
            }
        }
        if let Some(mac) = neighbour::answer(data, address) {
            check(&neighbour::answered(mac));
        }
    }
    check(&script::verdict(script::End::Exited(i32::from(setup)), data));
    check_words(&script::timed_out(data).words);
}

const LIFE: Incarnation = Incarnation { boot: 3, start: 1 };
const PEER: BoxId = BoxId(0x0200_0000_000b);

/// The serial line, the seal, and what is in a heartbeat. By the set-up: bytes of a line; datagrams; datagrams that the
/// peer has sealed, which nothing else would get past the first check; and those with a byte changed.
pub fn heartbeat(data: &[u8]) {
    let Some((setup, _, data)) = parts(data) else { return };
    let keys = Keys::single(Key::new(KeyId(1), [7; 32]));
    let (own, floor) = (BoxId(0x0200_0000_000a), Incarnation::default());
    let identity = Identity { own, incarnation: LIFE, peer: PEER, peer_floor: floor, versions: SPOKEN };
    let mut codec = Codec::new(&identity, keys.clone()).expect("random numbers");
    let channel = Channel::new(setup >> 4).expect("four bits");
    match setup & 3 {
        0 => line(data),
        1 => pieces(data).into_iter().for_each(|piece| {
            assert!(codec.open(piece).is_err(), "opened without the key");
        }),
        _ => {
            let mut sealer = Sealer::new(Kind::Heartbeat, PEER, LIFE, &keys).expect("random numbers");
            let mut datagram = Vec::new();
            for piece in pieces(data) {
                let body = piece.get(..BODY_BYTES_MAX).unwrap_or(piece);
                sealer.seal(1, channel, body, &mut datagram).expect("it fits");
                if setup & 3 == 3 {
                    let at = body.iter().map(|byte| usize::from(*byte)).sum::<usize>() % datagram.len();
                    datagram[at] ^= 1 << (setup >> 2 & 3);
                    assert!(codec.open(&datagram).is_err(), "opened with byte {at} changed");
                    continue;
                }
                sealed(&mut codec, &datagram, body);
            }
        }
    }
}

/// What is read is the same when it is written and read again; what was opened once is not opened again.
fn sealed(codec: &mut Codec, datagram: &[u8], body: &[u8]) {
    let read = wire::decode(body, PEER, LIFE);
    match codec.open(datagram) {
        Ok(received) => assert_eq!(Some(received.heartbeat), read.map(|read| read.heartbeat)),
        Err(refused) => assert!(refused == Refused::Malformed && read.is_none(), "{refused}"),
    }
    assert_eq!(codec.open(datagram), Err(Refused::Replayed));
    if let Some(mut read) = read {
        let mut again = Vec::new();
        wire::encode(&read, &mut again);
        read.path_echo = read.path_echo.filter(|_| read.heartbeat.frozen.is_none());
        assert_eq!(wire::decode(&again, PEER, LIFE), Some(read));
    }
}

/// The same frames in other pieces, and a whole frame behind whatever came.
fn line(data: &[u8]) {
    let pieces = pieces(data);
    let found = |pieces: &[&[u8]]| {
        let (mut deframer, mut found) = (Deframer::default(), Vec::new());
        for piece in pieces {
            deframer.feed(piece, |frame| found.push(frame.map(<[u8]>::to_vec)));
        }
        found
    };
    let whole = pieces.concat();
    assert_eq!(found(&pieces), found(&[&whole]));
    let mut frame = Vec::new();
    framing::frame(b"whole", &mut frame);
    assert_eq!(found(&[&whole, &frame]).last(), Some(&Ok(b"whole".to_vec())));
}

/// What a peer can say of connections: datagrams to the receiver and to the sender, also with headers that are
/// right, so that their records are read. A byte with the length, then as much, for each.
pub fn sync(data: &[u8]) {
    let Some((setup, _, data)) = parts(data) else { return };
    let mut receiver = Receiver::new(1);
    let mut sender = Sender::new(7, SenderLimits { queue_bytes: 4096, ..SenderLimits::default() });
    let mut now = Moment::default();
    let mut sequence = 0;
    let mut given = 0;
    for piece in pieces(data) {
        now = now + Duration::from_millis(u64::from(setup));
        let mut updates = Vec::new();
        let records = [sync_wire::data_header(7, sequence, setup.into()).as_slice(), piece].concat();
        let ack = [[sync_wire::VERSION, 2, 0, 0, 0, 0, 0, 0, 0, 7].as_slice(), piece, [0; 96].as_slice()].concat();
        for datagram in [piece, records.as_slice(), ack.get(..94).unwrap_or(piece)] {
            receiver.receive(datagram, now, &mut updates);
            sender.acknowledged(datagram, now);
        }
        assert!(updates.len() <= 3 * records.len() + 3, "{} updates", updates.len());
        for update in &updates {
            if let Update::Matter { matter, bytes, .. } = update {
                assert!(bytes.len() <= matter.bytes_max());
                given += bytes.len();
            }
        }
        assert!(given <= 3 * data.len(), "more was given than came");
        if sender.wants_walk(now) {
            let walk = sender.begin_walk(1, now);
            sender.end_walk(walk, now);
        }
        let datagrams = std::iter::from_fn(|| sender.poll(now)).take(2000).collect::<Vec<_>>();
        assert!(datagrams.len() < 2000 && datagrams.iter().all(|datagram| datagram.len() <= 1300));
        receiver.poll();
        sequence += 1;
    }
}

/// Datagrams about the configuration, of whoever has the key; the pieces as they are, and as pieces of a document that
/// was announced with its right hash.
pub fn copy(data: &[u8]) {
    let Some((setup, _, data)) = parts(data) else { return };
    let mut copier = Copier::new(Held::first("one".to_owned(), setup & 1 == 1));
    let mut now = Moment(Duration::from_secs(1));
    let mut sequence = u64::from(setup) << 32;
    for piece in pieces(data) {
        now = now + Duration::from_millis(u64::from(setup));
        sequence += 1;
        let document = Hash::of(piece);
        let status = copy_wire::Status {
            sequence,
            owns: setup & 2 != 0,
            blank: setup & 4 != 0,
            off_duty: setup & 8 != 0,
            too_large: false,
            revision: lbd::pair::copy::Revision { counter: sequence, hash: document },
            document,
            length: u32::try_from(piece.len()).unwrap_or(u32::MAX),
            other: Some((copier.held().revision, true)),
            refused: None,
        };
        for datagram in [piece.to_vec(), status.encode(), copy_wire::piece(document, 0, piece)] {
            copier.hear(&datagram, now);
            let sent: Vec<_> = std::iter::from_fn(|| copier.poll(now)).take(100).collect();
            assert!(sent.len() < 100 && sent.iter().all(|datagram| datagram.len() <= 1352), "{}", sent.len());
            let report = copier.report(now);
            if let Some(words) = report.refused.iter().chain(&report.peer_refused).next() {
                assert!(words.len() <= copy_wire::WORDS_BYTES_MAX);
            }
            if let Some(arrived) = copier.take_arrived() {
                assert_eq!(report.standing, Standing::Behind);
                assert_eq!(Document::decode(&arrived.document.encode()), Ok(arrived.document));
                copier.refuse("no", now);
            }
        }
    }
}

/// What an administrator, or whoever has his keyboard, can type: any bytes leave an editor that shows what it holds.
pub fn editor(data: &[u8]) {
    let mut editor = lbd::cli::editor::Editor::default();
    for byte in data {
        let mut shown = Vec::new();
        let event = editor.feed(*byte, &mut shown);
        // A line is drawn once and gone over once, whatever the key; of four bytes a character.
        assert!(shown.len() <= 6 * 4 * 4_096, "{} bytes for one key", shown.len());
        assert!(String::from_utf8(shown).is_ok(), "what is shown is text");
        if let Some(lbd::cli::editor::Event::Line(line)) = event {
            assert!(line.chars().count() <= 4_096 && !line.contains(char::is_control), "{line:?}");
        }
    }
}

/// Any text as commands of a configuration: what the reader of the file takes can be printed and typed again.
pub fn commands(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut draft = Draft::new(serde_json::Value::Null);
    for line in text.lines() {
        // A line that is none changes nothing.
        _ = draft.apply(line);
    }
    let Ok(loaded) = lbd::config::parse("fuzz", &draft.tree.to_string()) else { return };
    let printed = notation::render(&loaded.config);
    let mut again = Draft::new(serde_json::Value::Null);
    let applied = again.apply_all(printed.iter().map(String::as_str));
    assert!(applied.is_ok(), "{applied:?}");
    let read = lbd::config::parse("fuzz", &again.tree.to_string()).map(|loaded| loaded.config);
    assert_eq!(read.ok().as_ref(), Some(&loaded.config), "{printed:#?}");
}
