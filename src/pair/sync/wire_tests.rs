use proptest::prelude::*;

use super::wire::*;
use super::{Receiver, Sender, SenderLimits};
use crate::config::Mac;
use crate::core::moment::Moment;
use crate::core::synced::{Binding, Change, Flow, FlowKey, Name, NameKind, Names, Parts};
use std::net::{IpAddr, Ipv6Addr};

fn client() -> impl Strategy<Value = IpAddr> {
    let six =
        any::<u128>().prop_map(Ipv6Addr::from).prop_filter("IPv4 in disguise", |v6| v6.to_ipv4_mapped().is_none());
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), six.prop_map(IpAddr::from)]
}

fn key() -> impl Strategy<Value = FlowKey> {
    (client(), any::<u16>(), any::<u32>(), any::<u16>(), any::<bool>())
        .prop_map(|(client, client_port, vip, port, udp)| FlowKey { client, client_port, vip, port, udp })
}

fn flow() -> impl Strategy<Value = Flow> {
    let numbers = (any::<u32>(), any::<u8>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>());
    let rest = (any::<Option<(u32, u16)>>(), any::<[u8; 6]>(), any::<u16>(), any::<u8>());
    (key(), numbers, rest).prop_map(|(key, numbers, rest)| {
        let (dest, state, seen_ms, created_ms, last_ack, server_ack) = numbers;
        let (source, mac, client_vlan, progress) = rest;
        let client_mac = Mac(mac);
        Flow { key, dest, state, seen_ms, created_ms, last_ack, server_ack, source, client_mac, client_vlan, progress }
    })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        flow().prop_map(Change::Put),
        (key(), any::<u8>(), any::<u64>(), any::<u32>()).prop_map(|(key, state, seen_ms, last_ack)| Change::Touch {
            key,
            state,
            seen_ms,
            last_ack
        }),
        (key(), any::<u64>()).prop_map(|(key, seen_ms)| Change::Gone { key, seen_ms }),
        (client(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>()).prop_map(
            |(client, group, server, vip, seen_ms)| {
                Change::Binding(Binding { client, group, server, vip, seen_ms })
            }
        ),
    ]
}

fn name() -> impl Strategy<Value = Name> {
    (0..5usize, 0..=NameKind::NUMBER_MAX, "[ -~]{0,255}").prop_map(|(kind, number, text)| Name {
        kind: NameKind::ALL[kind],
        number,
        text: text.into(),
    })
}

/// What has been decoded again, without what it borrows.
fn records(bytes: &[u8]) -> Vec<Result<Record<'_>, Unreadable>> {
    Records::of(bytes).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        changes in proptest::collection::vec(change(), 0..20),
        names in proptest::collection::vec(name(), 0..5),
        numbers in any::<[u64; 3]>(),
        parts in any::<[u64; 4]>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut out = Vec::new();
        let mut expected = Vec::new();
        for change in changes {
            let before = out.len();
            put_change(&mut out, &change);
            prop_assert!(out.len() - before <= RECORD_BYTES_MAX);
            expected.push(Ok(Record::Change(change)));
        }
        for name in names {
            let before = out.len();
            put_name(&mut out, &name);
            prop_assert!(out.len() - before <= RECORD_BYTES_MAX);
            expected.push(Ok(Record::Name(name)));
        }
        let [a, b, c] = numbers;
        put_begin(&mut out, a, &Parts(parts), b);
        expected.push(Ok(Record::Begin { generation: a, parts: Parts(parts), connections: b }));
        put_end(&mut out, a, c);
        expected.push(Ok(Record::End { generation: a, told: c }));
        put_matter(&mut out, Matter::Config, a, 4321, 1234, &bytes);
        let matter = Record::Matter { matter: Matter::Config, revision: a, length: 4321, offset: 1234, bytes: &bytes };
        expected.push(Ok(matter));
        put_tick(&mut out, a, b, c);
        expected.push(Ok(Record::Tick { connections: a, records_behind: b, ms_behind: c }));
        out.extend([13, 2, 0xff, 0xff]);
        expected.push(Ok(Record::Unknown));
        prop_assert_eq!(records(&out), expected);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        let now = Moment::default();
        let found = records(&bytes);
        prop_assert!(found.len() <= bytes.len());
        let mut receiver = Receiver::new(1);
        let mut sender = Sender::new(1, SenderLimits::default());
        let mut out = Vec::new();
        // Also with a header that is right.
        let data = [&data_header(7, 0, 1)[..], &bytes].concat();
        for datagram in [&bytes, &data] {
            receiver.receive(datagram, now, &mut out);
            sender.acknowledged(datagram, now);
        }
        prop_assert!(out.len() <= 2 * (bytes.len() + 1));
        let heard = receiver.poll();
        prop_assert!(heard.is_some_and(|ack| matches!(datagram(&ack), Some(Datagram::Ack(_)))));
    }

    #[test]
    fn acknowledgements_are_read_again(words in any::<[u64; 3]>(), again: u32, beyond: [u64; 8]) {
        let [session, receiver, next] = words;
        let ack = Ack { session, receiver, next, again, beyond };
        let bytes = ack.encode();
        prop_assert_eq!(datagram(&bytes), Some(Datagram::Ack(ack)));
        prop_assert_eq!(datagram(&bytes[1..]), None);
    }
}

#[test]
fn a_connection_takes_at_most_64_bytes_with_its_header_share() {
    let key = FlowKey { client: [198, 51, 100, 7].into(), client_port: 40_000, vip: 2000, port: 25, udp: false };
    let flow = Flow {
        key,
        dest: 32_000,
        state: 0x30,
        seen_ms: 10_000,
        created_ms: 86_400_000,
        last_ack: u32::MAX,
        server_ack: u32::MAX,
        source: Some((500, 50_000)),
        client_mac: Mac([2; 6]),
        client_vlan: 7,
        progress: 0,
    };
    let size = |change: Change| {
        let mut out = Vec::new();
        put_change(&mut out, &change);
        out.len()
    };
    assert_eq!(size(Change::Put(flow)), 42);
    assert_eq!(size(Change::Put(Flow { source: None, seen_ms: 0, created_ms: 30, ..flow })), 34);
    let six = FlowKey { client: "2001:db8::1".parse().unwrap(), ..key };
    assert_eq!(size(Change::Put(Flow { key: six, ..flow })), 54);
    assert_eq!(size(Change::Touch { key, state: 0, seen_ms: 100, last_ack: 1 }), 17);
    assert_eq!(size(Change::Gone { key, seen_ms: 100 }), 12);
}

#[test]
fn other_versions_and_other_kinds_are_not_read() {
    let good = data_header(1, 2, 3);
    assert!(datagram(&good).is_some());
    for (at, value) in [(0, VERSION + 1), (1, 3)] {
        let mut bad = good;
        bad[at] = value;
        assert_eq!(datagram(&bad), None);
    }
    assert_eq!(datagram(&good[..21]), None);
}

#[test]
fn a_name_that_has_not_been_given_is_not_told() {
    let now = Moment::default();
    let mut sender = Sender::new(1, SenderLimits::default());
    let key = FlowKey { client: [192, 0, 2, 1].into(), client_port: 1, vip: 3, port: 25, udp: false };
    sender.tell(&Change::Gone { key, seen_ms: 0 }, &Names::default(), now, now);
    assert_eq!(sender.statistics(now).unnamed, 1);
    assert_eq!(sender.statistics(now).records, 0);
}
