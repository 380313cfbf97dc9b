//! What a test's end asks the balancer, it would tell: no loss is without a counter.

use std::io::ErrorKind;
use std::time::Duration;

use lbd::lab::customer::{self, Visit};
use lbd::lab::mail::CLIENT;
use lbd::lab::servers::Kind;

use super::stage::{Mode, Stage};
use super::transfers::{connect, datagrams};

#[test]
fn frames_that_are_lost_after_a_redirect_are_counted() {
    let stage = Stage::of(2, "maglev");
    // A veth whose far end has neither GRO nor an XDP program delivers nothing that is redirected into it.
    stage.said("pc1", &["ethtool", "-K", "eth0", "gro", "off"]);
    let mut visit = Visit::new(Kind::Echo, Mode::Nat.at(false, 7)).times(40);
    visit.timeout = Duration::from_millis(500);
    let tally = stage.host(CLIENT).block_on(move || customer::visit(visit, |_| {})).unwrap();
    assert!(tally.of("pc1") == 0 && tally.of("pc2") > 0 && tally.failed_count() > 0, "{tally:?}");
    // This driver counts them at the port by which they came in.
    let lost = stage.lost()["up0"];
    assert!(lost >= tally.failed_count() as u64, "{lost} of {tally:?}");
    let complaints = stage.close(&[]);
    assert!(complaints.len() == 1 && complaints[0].ends_with(" lost after a redirect at up0"), "{complaints:?}");
}

#[test]
fn a_packet_for_no_service_is_refused_or_dropped_and_counted() {
    let stage = Stage::of(1, "maglev");
    for v6 in [false, true] {
        let target = Mode::Nat.at(v6, 999);
        let (tcp, udp) = stage
            .host(CLIENT)
            .enter(move || {
                let socket = datagrams(None, target);
                (connect(None, target).map(drop), socket.send(b"anybody?"))
            })
            .unwrap();
        assert_eq!(tcp.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(udp.unwrap(), 8);
    }
    assert_eq!((stage.count("answered/rst-no-service"), stage.count("dropped/no-service")), (2, 2));
    let complaints = stage.close(&["answered/rst-no-service"]);
    assert!(complaints.len() == 1 && complaints[0].contains("dropped/no-service"), "{complaints:?}");
}
