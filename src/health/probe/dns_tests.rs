use hickory_proto::rr::Record;

use super::*;
use crate::health::probe::ANSWER_BYTES_MAX;
use crate::health::probe::exercise::*;

const ID: u16 = 0x1234;

fn question(probe: DnsProbe) -> Arc<Question> {
    Arc::new(Question::new(&probe).unwrap())
}

fn dns(probe: DnsProbe) -> Dns {
    Dns::new(question(probe), ID)
}

fn mx(answer: Option<&str>) -> DnsProbe {
    let answer = answer.map(str::to_owned);
    DnsProbe { query: "example.net".into(), record: "mx".into(), answer, ..DnsProbe::default() }
}

/// An answer to `probe`, with these records.
fn answer(probe: &DnsProbe, code: ResponseCode, records: &[(&str, RecordType, &str)]) -> Message {
    let mut message = Message::response(ID, OpCode::Query);
    message.metadata.response_code = code;
    message.add_query(question(probe.clone()).query.clone());
    for (name, kind, data) in records {
        let data = RData::try_from_str(*kind, data).unwrap();
        message.add_answer(Record::from_rdata(Name::from_ascii(name).unwrap(), 300, data));
    }
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

#[test]
fn the_question_goes_out_as_in_the_rfc() {
    let probe = DnsProbe { query: "f.isi.arpa".into(), record: "A".into(), ..DnsProbe::default() };
    let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01f\x03isi\x04arpa\0\0\x01\0\x01";
    assert_eq!(play(&mut dns(probe.clone()), []).0, expected);
    assert_eq!(play(&mut dns(DnsProbe { tcp: true, ..probe }), []).0, framed(expected));
    let root = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x06\0\x01";
    assert_eq!(play(&mut dns(DnsProbe::default()), []).0, root, "the SOA of the root");
}

#[test]
fn answers_lead_to_their_verdicts() {
    let probe = || mx(None);
    let records = [
        ("example.net.", RecordType::MX, "10 mx1.example.net."),
        ("example.net.", RecordType::MX, "20 mx2.example.net."),
    ];
    let rejected = |words| failure(FailureKind::Rejected, words);
    let mismatch = |words| failure(FailureKind::Mismatch, words);
    let wanting = |code: &str| DnsProbe { rcode: Some(code.into()), ..probe() };
    use ResponseCode::*;
    let table = [
        (probe(), NoError, &records[..], success("NOERROR, 2 records")),
        (probe(), NoError, &records[..1], success("NOERROR, 1 record")),
        (probe(), NXDomain, &[], success("NXDOMAIN, 0 records")),
        (probe(), ServFail, &[], rejected("SERVFAIL: the server cannot resolve this name")),
        (probe(), Refused, &[], rejected("REFUSED: does the server answer this balancer, and for this name?")),
        (wanting("NOERROR"), NXDomain, &[], mismatch("NXDOMAIN, not NOERROR")),
        (wanting("nxdomain"), NXDomain, &[], success("NXDOMAIN, 0 records")),
        (wanting("REFUSED"), Refused, &[], success("REFUSED, 0 records")),
        (mx(Some("20 mx2.example.net.")), NoError, &records[..], success("NOERROR, 2 records, one as expected")),
        (mx(Some("20 MX2.Example.NET")), NoError, &records[..], success("NOERROR, 2 records, one as expected")),
        (mx(Some("5 mx2.example.net.")), NoError, &records[..], mismatch("NOERROR, 2 records, none as expected")),
        (mx(Some("10 mx1.example.net.")), NoError, &[], mismatch("NOERROR, 0 records, none as expected")),
    ];
    for (probe, code, records, expected) in table {
        let message = bytes(&answer(&probe, code, records));
        assert_eq!(verdict(&mut dns(probe.clone()), &message), expected, "{probe:?}");
        let over_tcp = || dns(DnsProbe { tcp: true, ..probe.clone() });
        assert_eq!(verdict(&mut over_tcp(), &framed(&message)), expected, "{probe:?} over TCP");
        same_however_split(over_tcp, &framed(&message));
    }
}

#[test]
fn data_is_compared_as_a_zone_file_says_it() {
    for (kind, sent, wanted) in [
        ("A", "192.0.2.1", "192.0.2.1"),
        ("AAAA", "2001:db8::1", "2001:DB8:0:0::1"),
        ("CNAME", "www.example.net.", "WWW.example.net"),
        ("NS", "ns.example.net.", "ns.example.net"),
        ("PTR", "mx.example.net.", "mx.example.net"),
        ("TXT", "\"v=spf1 -all\"", "\"v=spf1 -all\""),
        ("SRV", "0 5 993 imap.example.net.", "0 5 993 imap.example.net"),
        ("SOA", "ns.example.net. host.example.net. 7 1 2 3 4", "ns.example.net host.example.net 7 1 2 3 4"),
    ] {
        let probe = DnsProbe { record: kind.into(), answer: Some(wanted.into()), ..DnsProbe::default() };
        let message = answer(&probe, ResponseCode::NoError, &[(".", RecordType::from_str(kind).unwrap(), sent)]);
        assert_eq!(verdict(&mut dns(probe), &bytes(&message)), success("NOERROR, 1 record, one as expected"), "{kind}");
    }
}

#[test]
fn a_truncated_answer_is_one_unless_a_record_is_looked_for() {
    let truncated = |probe: &DnsProbe| {
        let mut message = answer(probe, ResponseCode::NoError, &[]);
        message.metadata.truncation = true;
        bytes(&message)
    };
    let probe = mx(None);
    assert_eq!(verdict(&mut dns(probe.clone()), &truncated(&probe)), success("NOERROR, 0 records, truncated"));
    let probe = mx(Some("10 mx1.example.net."));
    let words = "NOERROR, truncated before the expected answer: ask with tcp";
    assert_eq!(verdict(&mut dns(probe.clone()), &truncated(&probe)), failure(FailureKind::Mismatch, words));
}

#[test]
fn what_does_not_answer_this_question_is_passed_over_and_the_answer_is_still_taken() {
    let probe = mx(None);
    let good = answer(&probe, ResponseCode::NoError, &[]);
    let changed = |change: &dyn Fn(&mut Message)| {
        let mut message = good.clone();
        change(&mut message);
        bytes(&message)
    };
    let strangers = [
        changed(&|m| m.metadata.id = ID + 1),
        changed(&|m| m.metadata.message_type = MessageType::Query),
        changed(&|m| m.metadata.op_code = OpCode::Notify),
        changed(&|m| m.queries.clear()),
        changed(&|m| m.queries = vec![Query::query(Name::from_ascii("example.org.").unwrap(), RecordType::MX)]),
        changed(&|m| m.queries = vec![Query::query(Name::from_ascii("example.net.").unwrap(), RecordType::A)]),
        b"".to_vec(),
        b"\x12\x34".to_vec(),
        b"\xff\xffnot a message at all".to_vec(),
    ];
    for stranger in &strangers {
        let mut dns = dns(probe.clone());
        let (_, next) = play(&mut dns, [stranger.as_slice()]);
        assert_eq!(next, Next::Read, "{}", stranger.escape_ascii());
        assert_eq!(dns.timed_out().words, "no answer, but 1 to other questions");
        assert_eq!(dns.received(&bytes(&good), &mut Vec::new()), Next::Done(success("NOERROR, 0 records")));
    }
    let mut over_tcp = dns(DnsProbe { tcp: true, ..probe });
    let expected = failure(FailureKind::Malformed, "a message that does not answer the question");
    assert_eq!(verdict(&mut over_tcp, &framed(&strangers[0])), expected);
}

#[test]
fn a_question_that_is_not_repeated_is_taken_with_an_error_only() {
    let probe = mx(None);
    let mut message = answer(&probe, ResponseCode::FormErr, &[]);
    message.queries.clear();
    assert_eq!(verdict(&mut dns(probe), &bytes(&message)), success("FORMERR, 0 records"));
}

#[test]
fn an_answer_to_this_id_that_cannot_be_decoded_is_malformed() {
    let expected = failure(FailureKind::Malformed, "an answer that cannot be decoded");
    // One answer is announced, and none follows.
    let message = b"\x12\x34\x81\x80\0\0\0\x01\0\0\0\0";
    assert_eq!(verdict(&mut dns(mx(None)), message), expected);
    assert_eq!(verdict(&mut dns(DnsProbe { tcp: true, ..mx(None) }), &framed(message)), expected);
    // A name that points at itself.
    let looped = b"\x12\x34\x81\x80\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01";
    assert_eq!(verdict(&mut dns(mx(None)), looped), expected);
}

#[test]
fn silence_is_told_from_an_answer_that_breaks_off() {
    let mut udp = dns(mx(None));
    assert_eq!(udp.timed_out(), Failure { kind: FailureKind::Timeout, words: "no answer".into() });
    assert_eq!(udp.closed(), failure(FailureKind::Closed, "closed without an answer"));
    let mut tcp = dns(DnsProbe { tcp: true, ..mx(None) });
    assert_eq!(tcp.timed_out().kind, FailureKind::Silent);
    assert_eq!(tcp.received(b"\0", &mut Vec::new()), Next::Read);
    assert_eq!(tcp.timed_out(), Failure { kind: FailureKind::Hung, words: "answer not complete".into() });
    assert_eq!(tcp.closed(), failure(FailureKind::Closed, "closed within the answer"));
}

#[test]
fn questions_that_cannot_be_asked_are_refused_with_words() {
    let words = |probe: DnsProbe| Question::new(&probe).unwrap_err().to_string();
    let label = "a".repeat(64);
    assert!(words(DnsProbe { query: label, ..mx(None) }).ends_with("is no domain name"));
    for record in ["MAIL", "", "AXFR", "OPT", "TYPE65280"] {
        assert!(words(DnsProbe { record: record.into(), ..mx(None) }).contains("no type of record"), "{record}");
    }
    assert!(words(DnsProbe { rcode: Some("OKAY".into()), ..mx(None) }).starts_with("'OKAY' is no answer code"));
    let expected = "answer '192.0.2.1' is not the data of a record of type MX, as in a zone file";
    assert_eq!(words(mx(Some("192.0.2.1"))), expected);
    for answer in ["", "10 a. b.", "10 \"mx", "(", "10 mx ; note"] {
        // Whatever it is: an error or data, and no panic.
        let _ = Question::new(&mx(Some(answer)));
    }
}

#[test]
fn whatever_a_server_sends_ends_and_costs_little() {
    let beginnings: [&[u8]; 3] = [b"\x12\x34\x81\x80\0\x01\xff\xff\xff\xff\xff\xff", b"\xff\xff\x12\x34", b"\xff\xff"];
    survives_floods(|| dns(mx(None)), &beginnings);
    survives_floods(|| dns(DnsProbe { tcp: true, ..mx(None) }), &beginnings);
    let empty = vec![b"".as_slice(); ANSWER_BYTES_MAX];
    let (_, next) = play(&mut dns(mx(None)), empty);
    assert!(matches!(next, Next::Done(_)), "a flood of empty datagrams");
}

proptest::proptest! {
    #[test]
    fn answers_with_bytes_changed_lead_to_no_panic(
        at in proptest::collection::vec((0..200_usize, proptest::prelude::any::<u8>()), 0..6), tcp: bool,
    ) {
        let probe = DnsProbe { tcp, ..mx(Some("10 mx1.example.net.")) };
        let mut message = bytes(&answer(&probe, ResponseCode::NoError, &[("example.net.", RecordType::MX, "10 mx1.example.net.")]));
        for (at, byte) in at {
            let length = message.len();
            message[at % length] = byte;
        }
        let message = if tcp { framed(&message) } else { message };
        survives(|| dns(probe.clone()), &message, message.len());
    }
}
