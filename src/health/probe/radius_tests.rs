use super::*;
use crate::health::probe::ANSWER_BYTES_MAX;
use crate::health::probe::exercise::*;

/// The secret of the examples in RFC 2865, section 7, and RFC 5997, section 6.
const SECRET: &[u8] = b"xyzzy5461";

fn random(identifier: u8, authenticator: [u8; 16]) -> [u8; 17] {
    let mut random = [identifier; 17];
    random[1..].copy_from_slice(&authenticator);
    random
}

/// RFC 2865, 7.1.
const NEMO: (u8, [u8; 16]) =
    (0, [0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4, 0x22, 0x7a]);

/// RFC 5997, 6.1.
const STATUS: (u8, [u8; 16]) =
    (0xda, [0x8a, 0x54, 0xf4, 0x68, 0x6f, 0xb3, 0x94, 0xc5, 0x28, 0x66, 0xe3, 0x02, 0x18, 0x5d, 0x06, 0x23]);

fn nemo() -> Account {
    Account { user: "nemo".into(), password: "arctangent".into() }
}

fn login() -> Radius {
    Radius::new(SECRET, Some(&nemo()), random(NEMO.0, NEMO.1)).unwrap()
}

fn status() -> Radius {
    Radius::new(SECRET, None, random(STATUS.0, STATUS.1)).unwrap()
}

/// An answer to `to`, signed with `secret`.
fn answer(to: &Radius, code: u8, attributes: &[u8], secret: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER + attributes.len()).unwrap().to_be_bytes();
    let head = [code, to.identifier, length[0], length[1]];
    let md5 = Md5::new().chain_update(head).chain_update(to.authenticator).chain_update(attributes);
    let authenticator = md5.chain_update(secret).finalize();
    [&head, authenticator.as_slice(), attributes].concat()
}

fn attribute(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut attribute = Vec::new();
    append(&mut attribute, kind, value);
    attribute
}

#[test]
fn a_password_is_hidden_as_in_the_rfcs_example() {
    let expected = [0x0d, 0xbe, 0x70, 0x8d, 0x93, 0xd4, 0x13, 0xce, 0x31, 0x96, 0xe4, 0x3f, 0x78, 0x2a, 0x0a, 0xee];
    assert_eq!(hidden(b"arctangent", SECRET, &NEMO.1), expected);
}

#[test]
fn a_password_of_several_blocks_is_hidden_so_that_a_server_can_uncover_it() {
    let password = b"a password that is longer than two blocks of sixteen";
    let secret = hidden(password, SECRET, &NEMO.1);
    assert_eq!(secret.len(), 64);
    let mut before = NEMO.1.to_vec();
    let mut uncovered = Vec::new();
    for block in secret.chunks(16) {
        let mask = Md5::new().chain_update(SECRET).chain_update(&before).finalize();
        uncovered.extend(block.iter().zip(mask).map(|(a, b)| a ^ b));
        before = block.to_vec();
    }
    assert_eq!(uncovered, [password.as_slice(), &[0; 12]].concat());
}

#[test]
fn the_signature_of_a_request_is_that_of_the_rfcs_example() {
    // RFC 5997, 6.1: the same packet, which has no NAS-Identifier.
    let mut packet = vec![12, 0xda, 0, 0x26];
    packet.extend_from_slice(&STATUS.1);
    packet.extend(attribute(80, &[0; 16]));
    let expected = [0x5a, 0x66, 0x5e, 0x2e, 0x1e, 0x84, 0x11, 0xf3, 0xe2, 0x43, 0x82, 0x20, 0x97, 0xc8, 0x4f, 0xa3];
    assert_eq!(hmac_md5(SECRET, &[&packet]), expected);
}

#[test]
fn a_status_request_has_a_signature_and_the_name_of_the_asker() {
    let request = play(&mut status(), []).0;
    assert_eq!(request[..4], [12, 0xda, 0, 49]);
    assert_eq!(request[4..20], STATUS.1);
    assert_eq!(request[20..22], [80, 18]);
    assert_eq!(request[38..], *b"\x20\x0blbd-probe");
    let zeroed = [&request[..22], &[0; 16], &request[38..]].concat();
    assert_eq!(request[22..38], hmac_md5(SECRET, &[&zeroed]));
}

#[test]
fn a_login_has_user_and_hidden_password() {
    let request = play(&mut login(), []).0;
    assert_eq!(request[..4], [1, 0, 0, u8::try_from(request.len()).unwrap()]);
    let found = attributes(&request).unwrap();
    let kinds: Vec<_> = found.iter().map(|attribute| attribute.kind).collect();
    assert_eq!(kinds, [80, 1, 2, 32]);
    assert_eq!(found[1].value, b"nemo");
    assert_eq!(found[2].value, hidden(b"arctangent", SECRET, &NEMO.1));
}

#[test]
fn the_answers_of_the_rfcs_examples_are_taken() {
    // RFC 2865, 7.1: Access-Accept with three attributes.
    let accept = b"\x02\0\0\x26\x86\xfe\x22\x0e\x76\x24\xba\x2a\x10\x05\xf6\xbf\x9b\x55\xe0\xb2\
                   \x06\x06\0\0\0\x01\x0f\x06\0\0\0\0\x0e\x06\xc0\xa8\x01\x03";
    assert_eq!(verdict(&mut login(), accept), success("Access-Accept"));
    // RFC 5997, 6.1: Access-Accept without any.
    let accept = b"\x02\xda\0\x14\xef\x0d\x55\x2a\x4b\xf2\xd6\x93\xec\x2b\x6f\xe8\xb5\x41\x1d\x66";
    assert_eq!(verdict(&mut status(), accept), success("Access-Accept"));
}

#[test]
fn answers_lead_to_their_verdicts() {
    let message = attribute(18, b"account locked");
    let table = [
        (login as fn() -> Radius, 2, vec![], success("Access-Accept")),
        (login, 11, attribute(24, b"state"), success("Access-Challenge")),
        (login, 3, vec![], failure(FailureKind::Login, "Access-Reject")),
        (login, 3, message.clone(), failure(FailureKind::Login, "Access-Reject: account locked")),
        (login, 5, vec![], failure(FailureKind::Malformed, "an answer of code 5")),
        (status, 2, vec![], success("Access-Accept")),
        (status, 5, vec![], success("Accounting-Response")),
        (status, 3, message, failure(FailureKind::Rejected, "Access-Reject to Status-Server: account locked")),
        (status, 42, vec![], failure(FailureKind::Malformed, "an answer of code 42")),
    ];
    for (make, code, attributes, expected) in table {
        let mut radius = make();
        let answer = answer(&radius, code, &attributes, SECRET);
        assert_eq!(verdict(&mut radius, &answer), expected);
    }
}

#[test]
fn an_answer_signed_with_another_secret_is_told_as_such() {
    let mut radius = login();
    let forged = answer(&radius, 2, &[], b"another secret");
    let words = "the answer is not signed: is the shared secret the same?";
    assert_eq!(verdict(&mut radius, &forged), failure(FailureKind::Unsigned, words));
}

#[test]
fn any_changed_byte_of_an_answer_is_noticed() {
    let radius = login();
    let sound = answer(&radius, 2, &attribute(18, b"welcome"), SECRET);
    for at in 0..sound.len() {
        let mut changed = sound.clone();
        changed[at] ^= 0x40;
        assert_ne!(play(&mut login(), [changed.as_slice()]).1, Next::Done(success("Access-Accept")), "byte {at}");
    }
}

#[test]
fn a_message_authenticator_in_the_answer_is_verified() {
    let radius = login();
    let unsigned = [&[2, 0, 0, 47], NEMO.1.as_slice(), &attribute(18, b"hello\0\0"), &attribute(80, &[0; 16])].concat();
    let signature = hmac_md5(SECRET, &[&unsigned]);
    let sound = [attribute(18, b"hello\0\0"), attribute(80, &signature)].concat();
    let sound = answer(&radius, 2, &sound, SECRET);
    assert_eq!(verdict(&mut login(), &sound), success("Access-Accept"));
    let wrong = [attribute(18, b"hello\0\0"), attribute(80, &[7; 16])].concat();
    let words = "the answer's Message-Authenticator is wrong: is the shared secret the same?";
    assert_eq!(verdict(&mut login(), &answer(&radius, 2, &wrong, SECRET)), failure(FailureKind::Unsigned, words));
    let short = attribute(80, &[7; 3]);
    assert_eq!(verdict(&mut login(), &answer(&radius, 2, &short, SECRET)), failure(FailureKind::Unsigned, words));
}

#[test]
fn another_requests_answer_is_passed_over_and_ours_is_still_taken() {
    let mut radius = login();
    let mut other = answer(&radius, 2, &[], SECRET);
    other[1] ^= 1;
    let (_, next) = play(&mut radius, [b"".as_slice(), b"\x02\0\0", &other]);
    assert_eq!(next, Next::Read);
    let ours = answer(&radius, 2, &[], SECRET);
    assert_eq!(radius.received(&ours, &mut Vec::new()), Next::Done(success("Access-Accept")));
}

#[test]
fn lengths_that_do_not_add_up_are_malformed_and_padding_is_not() {
    let radius = login();
    let mut long = answer(&radius, 2, &[], SECRET);
    long[3] = 21;
    let words = "the answer is shorter than the length that it names";
    assert_eq!(verdict(&mut login(), &long), failure(FailureKind::Malformed, words));
    long[3] = 19;
    assert_eq!(verdict(&mut login(), &long), failure(FailureKind::Malformed, words));
    for attributes in [&b"\x12"[..], b"\x12\x01x", b"\x12\0", b"\x12\x09short"] {
        let words = "the answer's attributes are not as long as they say";
        let answer = answer(&radius, 2, attributes, SECRET);
        assert_eq!(verdict(&mut login(), &answer), failure(FailureKind::Malformed, words));
    }
    let padded = [answer(&radius, 2, &[], SECRET), vec![0; 9]].concat();
    assert_eq!(verdict(&mut login(), &padded), success("Access-Accept"));
}

#[test]
fn silence_names_its_usual_causes() {
    let words =
        "no answer: does the server know this balancer as a client, with this secret, and answer Status-Server?";
    assert_eq!(status().timed_out(), Failure { kind: FailureKind::Timeout, words: words.into() });
    assert!(!login().timed_out().words.contains("Status-Server"));
}

#[test]
fn what_has_no_room_in_a_packet_is_refused_with_words() {
    let new = |secret: &[u8], user: usize, password: usize| {
        let account = Account { user: "u".repeat(user), password: "p".repeat(password) };
        Radius::new(secret, Some(&account), [0; 17]).err()
    };
    assert_eq!(new(b"", 1, 1), Some(Unaskable::Secret));
    assert_eq!(new(b"s", 0, 1), Some(Unaskable::User { bytes: 0, most: 253 }));
    assert_eq!(new(b"s", 254, 1), Some(Unaskable::User { bytes: 254, most: 253 }));
    assert_eq!(new(b"s", 253, 129), Some(Unaskable::Password { bytes: 129, most: 128 }));
    assert_eq!(new(b"s", 253, 128), None);
}

#[test]
fn whatever_a_server_sends_ends_and_costs_little() {
    survives_floods(login, &[b"\x02\0\0\x26", b"\x02\0\xff\xff"]);
    let (_, next) = play(&mut login(), vec![b"".as_slice(); ANSWER_BYTES_MAX]);
    assert!(matches!(next, Next::Done(_)), "a flood of empty datagrams");
}
