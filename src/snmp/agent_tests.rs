use std::str::FromStr;

use agentx::encodings::OctetString;
use agentx::pdu::Header;

use super::*;
use crate::snmp::mib::id;

fn small() -> Tree {
    let text = |text: &str| Value::OctetString(OctetString(text.to_owned()));
    [(&[1, 1, 1, 0][..], text("1.0")), (&[1, 5, 1, 4, 2, 97, 98], text("a")), (&[1, 5, 1, 4, 2, 97, 99], text("b"))]
        .into_iter()
        .map(|(parts, value)| (id(parts).unwrap(), value))
        .collect()
}

fn shown(found: &[VarBind]) -> Vec<String> {
    let root = root().unwrap().to_string();
    let value = |value: &Value| match value {
        Value::OctetString(OctetString(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    found.iter().map(|one| format!("{}={}", one.name.to_string().trim_start_matches(&root), value(&one.data))).collect()
}

fn range(start: &str, include: u8, end: &str) -> SearchRange {
    let id = |text: &str| ID::from_str(&format!("{}{text}", root().unwrap())).unwrap();
    let mut range = SearchRange::new(id(start), if end.is_empty() { ID::default() } else { id(end) });
    range.start.include = include;
    range
}

fn get(ranges: Vec<SearchRange>) -> Vec<String> {
    let bytes = Get::new(agentx::encodings::SearchRangeList(ranges)).to_bytes().unwrap();
    let pdu = Pdu { header: Header::from_bytes(&bytes).unwrap(), bytes };
    shown(&found(&pdu, &small()).unwrap())
}

#[test]
fn what_is_missing_is_an_instance_or_an_object() {
    assert_eq!(get(vec![range(".1.1.1.0", 0, "")]), [".1.1.1.0=1.0"]);
    assert_eq!(get(vec![range(".1.5.1.4.1.97", 0, "")]), [".1.5.1.4.1.97=NoSuchInstance"]);
    assert_eq!(get(vec![range(".1.5.1.5.2.97.98", 0, "")]), [".1.5.1.5.2.97.98=NoSuchObject"]);
    assert_eq!(get(vec![range("", 0, "")]), ["=NoSuchObject"]);
}

#[test]
fn a_walk_finds_each_object_once_and_ends() {
    let tree = small();
    let (mut at, mut found) = (root().unwrap(), Vec::new());
    loop {
        let one = next(&at, &ID::default(), &tree);
        if one.data == Value::EndOfMibView {
            break;
        }
        at = one.name.clone();
        found.push(one);
    }
    assert_eq!(shown(&found), [".1.1.1.0=1.0", ".1.5.1.4.2.97.98=a", ".1.5.1.4.2.97.99=b"]);
}

#[test]
fn the_start_counts_where_it_says_so_and_the_end_never() {
    let tree = small();
    let find = |range: SearchRange| shown(&[next(&range.start, &range.end, &tree)]);
    assert_eq!(find(range(".1.5.1.4.2.97.98", 1, "")), [".1.5.1.4.2.97.98=a"]);
    assert_eq!(find(range(".1.5.1.4.2.97.98", 0, "")), [".1.5.1.4.2.97.99=b"]);
    assert_eq!(find(range(".1.1", 0, ".1.1.1.0")), [".1.1=EndOfMibView"]);
}

#[test]
fn many_are_told_at_once_and_no_more_than_there_is_room_for() {
    let mut tree = Tree::new();
    for number in 0..5000 {
        tree.insert(id(&[1, 5, 1, 4, number]).unwrap(), Value::Null);
    }
    let ranges = [range(".1", 0, ""), range(".1.5.1.4.10", 0, ""), range(".1.5.1.4.4990", 0, "")];
    let found = bulk_of(&ranges, 1, 20, &tree);
    let text = shown(&found);
    assert_eq!(text.len(), 1 + 20 * 2);
    assert_eq!((text[0].as_str(), text[1].as_str()), (".1.5.1.4.0=Null", ".1.5.1.4.11=Null"));
    assert!(text.last().unwrap().ends_with("EndOfMibView"), "{text:?}");
    assert!(bulk_of(&ranges, 9, usize::MAX, &tree).len() == 3);
    assert!(bulk_of(&ranges, 0, usize::from(u16::MAX), &tree).len() <= ANSWER_MAX);
}

#[test]
fn identifiers_that_are_too_long_are_refused_and_end_nothing() {
    let long = ID::try_from(vec![1; 200]).unwrap();
    assert!(checked(vec![SearchRange::new(long, ID::default())]).is_err());
    assert!(checked(vec![SearchRange::default(); ANSWER_MAX + 1]).is_err());
}

/// Whatever comes, it is an answer or an error.
#[test]
fn bytes_of_any_kind_end_nothing() {
    let tree = small();
    let mut random = crate::core::random::Random::new(1);
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..20 + random.number() % 80).map(|_| random.number() as u8).collect();
        bytes[0] = 1;
        bytes[1] = 5 + (random.number() % 3) as u8;
        let Ok(header) = Header::from_bytes(&bytes) else { continue };
        let mut response = Response::from_header(&header);
        if let Ok(found) = found(&Pdu { header, bytes }, &tree) {
            response.vb = Some(VarBindList(found));
            response.to_bytes().unwrap();
        }
    }
}
