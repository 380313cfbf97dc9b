use super::*;
use crate::health::probe::exercise::*;

const NONCE: &[u8; 20] = b"abcdefghijklmnopqrst";

fn nobody() -> Mysql {
    Mysql::new(None).unwrap()
}

fn account() -> Account {
    Account { user: "probe".into(), password: "hunter2".into() }
}

fn with_login() -> Mysql {
    Mysql::new(Some(&account())).unwrap()
}

fn packet(number: u8, content: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    append_packet(&mut packet, number.wrapping_sub(1), content);
    packet
}

/// A handshake as MySQL 8.0 sends it.
fn handshake(version: &str, plugin: &str) -> Vec<u8> {
    let mut content = vec![10];
    content.extend_from_slice(version.as_bytes());
    content.extend_from_slice(b"\0\x0b\0\0\0");
    content.extend_from_slice(&NONCE[..8]);
    // Filler; lower capabilities; character set; status; upper capabilities; length of the nonce; reserved.
    content.extend_from_slice(&[0, 0xff, 0xff, 0xff, 2, 0, 0xff, 0xdf, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    content.extend_from_slice(&NONCE[8..]);
    content.push(0);
    content.extend_from_slice(plugin.as_bytes());
    content.push(0);
    packet(0, &content)
}

fn native() -> Vec<u8> {
    handshake("5.7.44-log", "mysql_native_password")
}

fn caching() -> Vec<u8> {
    handshake("8.0.36", "caching_sha2_password")
}

fn ok(number: u8) -> Vec<u8> {
    packet(number, &[0, 0, 0, 2, 0, 0, 0])
}

fn refusal(number: u8, code: u16, text: &str) -> Vec<u8> {
    packet(number, &[&[0xff], code.to_le_bytes().as_slice(), text.as_bytes()].concat())
}

fn denied(number: u8) -> Vec<u8> {
    refusal(number, 1045, "#28000Access denied for user 'probe'@'10.1.0.1' (using password: YES)")
}

fn switch(number: u8, plugin: &[u8]) -> Vec<u8> {
    packet(number, &[b"\xfe", plugin, b"\0tsrqponmlkjihgfedcba\0"].concat())
}

/// What an answer to the handshake says: user, proof, method.
fn said(sent: &[u8]) -> (&[u8], &[u8], &[u8]) {
    assert_eq!(usize::from(u16::from_le_bytes([sent[0], sent[1]])), sent.len() - HEADER, "one packet");
    assert_eq!(sent[3], 1, "number in the sequence");
    let (user, rest) = until_nul(&sent[HEADER + 32..]).unwrap();
    let (proof, plugin) = rest[1..].split_at(usize::from(rest[0]));
    (user, proof, until_nul(plugin).unwrap().0)
}

fn bytes_of(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn without_an_account_the_handshake_is_answered_and_the_refusal_is_no_failure() {
    for greeting in [native(), caching(), handshake("5.5.5-10.11.6-MariaDB-0+deb12u1", "mysql_native_password")] {
        let (sent, next) = play(&mut nobody(), [greeting.as_slice()]);
        assert_eq!(next, Next::Read, "the handshake alone is no verdict: going away would count against the host");
        assert_eq!(said(&sent).0, b"lbd-probe");
        assert_eq!(said(&sent).1, b"");
    }
    let refused = |greeting: Vec<u8>| verdict(&mut nobody(), &[greeting, denied(2)].concat());
    assert_eq!(refused(caching()), success("handshake of 8.0.36"));
    let mariadb = handshake("5.5.5-10.11.6-MariaDB-0+deb12u1", "mysql_native_password");
    assert_eq!(refused(mariadb), success("handshake of 10.11.6-MariaDB-0+deb12u1"));
}

#[test]
fn an_account_without_a_password_is_let_in_and_takes_its_leave() {
    let (sent, next) = play(&mut nobody(), [[caching(), ok(2)].concat().as_slice()]);
    assert_eq!(next, Next::Done(success("handshake of 8.0.36")));
    assert!(sent.ends_with(&COM_QUIT));
}

#[test]
fn a_password_is_proven_by_both_methods_as_the_servers_compute_it() {
    // Computed by Python's hashlib.
    let by_native = bytes_of("fb30830c3ec1c2161c75ef8c45977d684a38d8d4");
    let by_caching = bytes_of("38c32b38723affcda57b368b565bac628d5a852428b402c25c4ae036a4fd904f");
    let sent = play(&mut with_login(), [native().as_slice()]).0;
    assert_eq!(said(&sent), (&b"probe"[..], by_native.as_slice(), NATIVE));
    let sent = play(&mut with_login(), [caching().as_slice()]).0;
    assert_eq!(said(&sent), (&b"probe"[..], by_caching.as_slice(), CACHING));
    // A method that is not known is answered by the native one, and the server then asks for another.
    let sent = play(&mut with_login(), [handshake("11.4", "ed25519").as_slice()]).0;
    assert_eq!(said(&sent), (&b"probe"[..], by_native.as_slice(), NATIVE));
}

#[test]
fn logins_lead_to_their_verdicts() {
    let login = |words| failure(FailureKind::Login, words);
    let full = "the password is not in the server's cache, and would need TLS: use mysql_native_password, or an \
                account without password and rights";
    let table = [
        (vec![native(), ok(2)], success("login to 5.7.44-log")),
        (vec![native(), denied(2)], login("1045 Access denied for user 'probe'@'10.1.0.1' (using password: YES)")),
        (vec![caching(), packet(2, &[1, 3]), ok(3)], success("login to 8.0.36")),
        (vec![caching(), packet(2, &[1, 4])], login(full)),
        (vec![caching(), switch(2, NATIVE), ok(4)], success("login to 8.0.36")),
        (vec![native(), switch(2, CACHING), packet(4, &[1, 3]), ok(5)], success("login to 5.7.44-log")),
        (vec![native(), switch(2, b"ed25519")], login("the account wants ed25519: use mysql_native_password")),
        (
            vec![native(), switch(2, b"mysql_clear_password")],
            login("the account wants mysql_clear_password: use mysql_native_password"),
        ),
        (vec![native(), packet(2, b"\xfe")], login("the account wants : use mysql_native_password")),
        (
            vec![native(), refusal(2, 1040, "#08004Too many connections")],
            failure(FailureKind::Busy, "1040 Too many connections"),
        ),
        (
            vec![native(), refusal(2, 3159, "#HY000Connections using insecure transport are prohibited")],
            failure(FailureKind::Rejected, "3159 Connections using insecure transport are prohibited"),
        ),
        (
            vec![native(), switch(2, NATIVE), switch(4, NATIVE)],
            failure(FailureKind::Malformed, "an answer to the login that is none"),
        ),
        (vec![native(), packet(2, b"")], failure(FailureKind::Malformed, "an answer to the login that is none")),
        (
            vec![native(), packet(2, b"\xff\x01")],
            failure(FailureKind::Malformed, "an answer to the login that is none"),
        ),
    ];
    for (packets, expected) in table {
        let bytes = packets.concat();
        assert_eq!(verdict(&mut with_login(), &bytes), expected, "{}", bytes.escape_ascii());
        same_however_split(with_login, &bytes);
    }
}

#[test]
fn another_method_is_answered_with_the_new_nonce() {
    let sent = play(&mut with_login(), [[caching(), switch(2, NATIVE)].concat().as_slice()]).0;
    let expected = packet(3, &proof(NATIVE, b"hunter2", b"tsrqponmlkjihgfedcba").unwrap());
    assert!(sent.ends_with(&expected));
}

#[test]
fn nobody_answers_whatever_is_asked_so_that_the_server_can_refuse() {
    let unknown = [native(), switch(2, b"ed25519"), denied(4)].concat();
    assert_eq!(verdict(&mut nobody(), &unknown), success("handshake of 5.7.44-log"));
    let (sent, _) = play(&mut nobody(), [unknown.as_slice()]);
    assert!(sent.ends_with(&[0, 0, 0, 3]), "an empty answer");
    let in_full = [caching(), packet(2, &[1, 4]), denied(4)].concat();
    assert_eq!(verdict(&mut nobody(), &in_full), success("handshake of 8.0.36"));
    let busy = [native(), refusal(2, 1040, "#08004Too many connections")].concat();
    assert_eq!(verdict(&mut nobody(), &busy), failure(FailureKind::Busy, "1040 Too many connections"));
}

#[test]
fn a_server_that_refuses_before_its_handshake_says_why() {
    let table = [
        (1040, "Too many connections", FailureKind::Busy),
        (1129, "Host '10.1.0.1' is blocked because of many connection errors", FailureKind::Rejected),
        (1130, "Host '10.1.0.1' is not allowed to connect to this MySQL server", FailureKind::Rejected),
    ];
    for (code, text, kind) in table {
        let bytes = refusal(0, code, text);
        assert_eq!(verdict(&mut nobody(), &bytes), failure(kind, &format!("{code} {text}")));
        same_however_split(nobody, &bytes);
    }
}

#[test]
fn what_is_no_handshake_is_told_at_once() {
    let mut version_9 = native();
    version_9[4] = 9;
    for bytes in [
        b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(),
        b"220 mx1 ESMTP\r\n".to_vec(),
        packet(0, b""),
        packet(0, b"\xff"),
        packet(0, b"\x0a8.0.36"),
        packet(0, b"\x0a8.0.36\0abc"),
        version_9,
    ] {
        let expected = failure(FailureKind::Malformed, "no handshake packet");
        assert_eq!(verdict(&mut nobody(), &bytes), expected, "{}", bytes.escape_ascii());
        same_however_split(nobody, &bytes);
    }
    // As far as versions before 4.1 sent it.
    let old = packet(0, b"\x0a4.0.30\0\x01\0\0\0abcdefgh\0\x2c\x20");
    let expected = failure(FailureKind::Malformed, "handshake of 4.0.30, which is older than 4.1");
    assert_eq!(verdict(&mut nobody(), &old), expected);
}

#[test]
fn silence_and_each_place_where_the_exchange_can_stop_have_their_own_words() {
    let table: [(Vec<u8>, FailureKind, &str, &str); 3] = [
        (vec![], FailureKind::Silent, "accepts connections, but no handshake came", "closed without a handshake"),
        (native()[..9].to_vec(), FailureKind::Hung, "handshake not complete", "closed within the handshake"),
        (
            native(),
            FailureKind::Hung,
            "handshake of 5.7.44-log, no answer to the login",
            "closed without an answer to the login",
        ),
    ];
    for (bytes, kind, words, closed) in table {
        let mut mysql = nobody();
        assert_eq!(play(&mut mysql, [bytes.as_slice()]).1, Next::Read);
        assert_eq!(mysql.timed_out(), Failure { kind, words: words.into() });
        assert_eq!(mysql.closed(), failure(FailureKind::Closed, closed));
    }
}

#[test]
fn what_has_no_room_in_a_packet_is_refused_with_words() {
    let new =
        |user: &str, password: &str| Mysql::new(Some(&Account { user: user.into(), password: password.into() })).err();
    assert_eq!(new("", "x"), Some(Unaskable::User { bytes: 0, most: 255 }));
    assert_eq!(new("a", &"x".repeat(256)), Some(Unaskable::Password { bytes: 256, most: 255 }));
    assert_eq!(new("a\0b", "x"), Some(Unaskable::Nul));
    assert_eq!(new("a", ""), None);
}

#[test]
fn whatever_a_server_sends_ends_and_costs_little() {
    let login = [native(), vec![]].concat();
    let switched = [native(), switch(2, NATIVE)].concat();
    survives_floods(nobody, &[&login, &switched, b"\0\x10\0\0", b"\xff\xff\xff"]);
    survives_floods(with_login, &[&login, &switched]);
}

proptest::proptest! {
    #[test]
    fn an_exchange_with_bytes_changed_leads_to_the_same_however_it_comes(
        at in proptest::collection::vec((0..200_usize, proptest::prelude::any::<u8>()), 0..4),
    ) {
        let mut bytes = [caching(), switch(2, NATIVE), denied(4)].concat();
        for (at, byte) in at {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        same_however_split(with_login, &bytes);
    }
}
