use super::*;
use crate::os::arp::announcement;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn claim(vip: &str, how: How) -> Option<VipClaim> {
    Some(VipClaim { vip: vip.parse().unwrap(), mac: MAC, how })
}

#[test]
fn announcements_are_claims_and_questions_from_nobody_are_none_of_a_virtual_ip() {
    let (four, six): (IpAddr, IpAddr) = ("192.0.2.25".parse().unwrap(), "2001:db8::25".parse().unwrap());
    assert_eq!(claim_of(&announcement(MAC, four)), claim("192.0.2.25", How::Asks));
    assert_eq!(claim_of(&announcement(MAC, six)), claim("2001:db8::25", How::Answers));
    assert_eq!(claim_of(&arp_probe(MAC, Ipv4Addr::new(192, 0, 2, 25))), claim("0.0.0.0", How::Asks));
    assert_eq!(claim_of(&solicitation(MAC, Ipv6Addr::LOCALHOST, "2001:db8::25".parse().unwrap())), None);
}

#[test]
fn an_advertisement_that_has_passed_a_router_is_no_claim() {
    let mut frame = announcement(MAC, "2001:db8::25".parse().unwrap());
    frame[21] = 254;
    assert_eq!(claim_of(&frame), None);
}

#[test]
fn frames_cut_anywhere_or_with_any_byte_changed_are_read_to_an_end() {
    for vip in ["192.0.2.25", "2001:db8::25"] {
        let frame = announcement(MAC, vip.parse().unwrap());
        for length in 0..frame.len() {
            let _ = claim_of(&frame[..length]);
        }
        for at in 0..frame.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = frame.clone();
                changed[at] = value;
                let _ = claim_of(&changed);
            }
        }
    }
    assert_eq!(target_mac(&[14, 0, 0, 0, 0, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 1]), None, "an option without length");
    assert_eq!(target_mac(&[14, 1, 0, 0, 0, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 1]), Some([1; 6]));
}

#[test]
fn the_questions_of_a_round_are_spread() {
    let vips = |count: u32| (0..count).map(|n| Ipv4Addr::from(n).into()).collect();
    let segment = |count| Segment { link: 1, mac: MAC, source6: None, vips: vips(count) };
    let round = |count| Round::after(Instant::now(), &Wanted { segments: vec![segment(count)], ..Wanted::default() });
    assert_eq!((round(0).questions.len(), round(3).questions.len()), (0, 3));
    assert_eq!(round(1).gap, GAP_MAX);
    assert_eq!(round(1_000).gap, Duration::from_millis(15));
    assert_eq!(round(100_000).gap, GAP_MIN, "then a round takes longer");
}
