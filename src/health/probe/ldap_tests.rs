use super::*;
use crate::health::probe::exercise::*;

fn anonymous() -> Ldap {
    Ldap::new(None).unwrap()
}

fn response(id: u8, tag: u8, code: u8, diagnostic: &[u8]) -> Vec<u8> {
    let result =
        [written(tag::ENUMERATED, &[code]), written(tag::OCTET_STRING, b""), written(tag::OCTET_STRING, diagnostic)];
    written(tag::SEQUENCE, &[written(tag::INTEGER, &[id]), written(tag, &result.concat())].concat())
}

fn bound(code: u8, diagnostic: &[u8]) -> Vec<u8> {
    response(1, tag::BIND_RESPONSE, code, diagnostic)
}

#[test]
fn an_anonymous_bind_is_the_fourteen_bytes_that_clients_send() {
    // As `ldapsearch -x` sends it.
    assert_eq!(play(&mut anonymous(), []).0, b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0");
}

#[test]
fn a_bind_with_an_account_carries_name_and_password() {
    let account = Account { user: "cn=probe".into(), password: "geheim".into() };
    let out = play(&mut Ldap::new(Some(&account)).unwrap(), []).0;
    assert_eq!(out, b"\x30\x1a\x02\x01\x01\x60\x15\x02\x01\x03\x04\x08cn=probe\x80\x06geheim");
    let long = Account { user: "n".repeat(1_024), password: "p".repeat(200) };
    let out = play(&mut Ldap::new(Some(&long)).unwrap(), []).0;
    let Some((content, [])) = expect(tag::SEQUENCE, &out) else { panic!("not one sequence: {}", out.escape_ascii()) };
    let (_, request) = expect(tag::INTEGER, content).unwrap();
    let (_, fields) = expect(tag::INTEGER, expect(tag::BIND_REQUEST, request).unwrap().0).unwrap();
    let (name, rest) = expect(tag::OCTET_STRING, fields).unwrap();
    assert_eq!((name.len(), expect(tag::SIMPLE, rest).unwrap().0.len()), (1_024, 200));
}

#[test]
fn an_account_without_a_password_is_refused_because_servers_take_it_for_nobody() {
    let account = |user: &str, password: &str| Account { user: user.into(), password: password.into() };
    assert_eq!(Ldap::new(Some(&account("cn=a", ""))).err(), Some(Unaskable::Password { bytes: 0, most: 1_024 }));
    assert_eq!(Ldap::new(Some(&account("", "x"))).err(), Some(Unaskable::User { bytes: 0, most: 1_024 }));
}

#[test]
fn answers_lead_to_their_verdicts_and_to_an_unbind() {
    let rejected = |words| failure(FailureKind::Rejected, words);
    let malformed = || failure(FailureKind::Malformed, "the answer is not a bind response");
    let mut with_referral = bound(10, b"");
    with_referral[1] += 4;
    with_referral[6] += 4;
    with_referral.extend(written(0xa3, b"\x04\0"));
    let table = [
        (bound(0, b""), success("bind accepted")),
        // As OpenLDAP writes it, and as Active Directory does, whose lengths are always long.
        (b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0".to_vec(), success("bind accepted")),
        (b"\x30\x84\0\0\0\x10\x02\x01\x01\x61\x84\0\0\0\x07\x0a\x01\0\x04\0\x04\0".to_vec(), success("bind accepted")),
        (bound(49, b""), failure(FailureKind::Login, "invalidCredentials")),
        (bound(49, b"data 52e"), failure(FailureKind::Login, "invalidCredentials: data 52e")),
        (bound(51, b""), failure(FailureKind::Busy, "busy")),
        (bound(52, b"shutting down\n"), failure(FailureKind::Busy, "unavailable: shutting down")),
        (bound(48, b"anonymous bind disallowed"), rejected("inappropriateAuthentication: anonymous bind disallowed")),
        (bound(13, b"TLS required"), rejected("confidentialityRequired: TLS required")),
        (bound(99, b""), rejected("result 99")),
        (with_referral, rejected("referral")),
        (response(0, tag::EXTENDED_RESPONSE, 52, b"bye"), failure(FailureKind::Busy, "disconnected: unavailable: bye")),
        (response(2, tag::BIND_RESPONSE, 0, b""), malformed()),
        (response(1, 0x65, 0, b""), malformed()),
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), malformed()),
        (b"\x30\x80\x02\x01\x01".to_vec(), malformed()),
        (b"\x30\x05\x02\x01\x01\x61\x00".to_vec(), malformed()),
    ];
    for (answer, expected) in table {
        // What begins like an element of another tag may want more before it can be told.
        let complete = [answer.clone(), vec![b' '; 200]].concat();
        let (out, next) = play(&mut anonymous(), [complete.as_slice()]);
        assert_eq!(next, Next::Done(expected), "{}", answer.escape_ascii());
        assert!(out.ends_with(&UNBIND));
        same_however_split(anonymous, &complete);
    }
}

#[test]
fn lengths_beyond_all_reason_are_refused_at_once() {
    let expected = failure(FailureKind::Overlong, "an answer that wants to be longer than 16 KiB");
    for bomb in [&b"\x30\x84\x7f\xff\xff\xff"[..], b"\x30\x83\xff\xff\xff", b"\x30\x82\x40\x01"] {
        assert_eq!(verdict(&mut anonymous(), bomb), expected);
        same_however_split(anonymous, bomb);
    }
    // Inside, a length cannot reach beyond the message.
    let inner = b"\x30\x0c\x02\x01\x01\x61\x84\xff\xff\xff\xff\x0a\x01\0";
    assert_eq!(verdict(&mut anonymous(), inner), failure(FailureKind::Malformed, "the answer is not a bind response"));
}

#[test]
fn silence_is_told_from_an_answer_that_breaks_off() {
    let mut ldap = anonymous();
    assert_eq!(ldap.timed_out().kind, FailureKind::Silent);
    assert_eq!(ldap.closed(), failure(FailureKind::Closed, "closed without an answer"));
    assert_eq!(ldap.received(b"\x30\x0c\x02", &mut Vec::new()), Next::Read);
    assert_eq!(ldap.timed_out(), Failure { kind: FailureKind::Hung, words: "answer to the bind not complete".into() });
    assert_eq!(ldap.closed(), failure(FailureKind::Closed, "closed within the answer"));
}

#[test]
fn whatever_a_server_sends_ends_and_costs_little() {
    survives_floods(anonymous, &[b"\x30\x82\x3f\xff", b"\x30\x0c\x02\x01\x01\x61\x07", b"\x30\x80"]);
}

proptest::proptest! {
    #[test]
    fn a_response_with_bytes_changed_leads_to_the_same_however_it_comes(
        at in proptest::collection::vec((0..60_usize, proptest::prelude::any::<u8>()), 0..4),
    ) {
        let mut bytes = bound(49, b"wrong password");
        for (at, byte) in at {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        same_however_split(anonymous, &bytes);
    }
}
