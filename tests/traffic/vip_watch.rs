//! Who speaks for a virtual IP beside its owner, asked of real hosts.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use lbd::config::Mac;
use lbd::core::vip_claims::{How, VipClaim, to_ask, warnings};
use lbd::lab::mail::{self, BALANCER, BALANCER_MAC, ROUTER};
use lbd::lab::{Host, Site};
use lbd::os::vip_watch::{Segment, VipWatch, Wanted};

use super::dsr_probe::{Balancer, bridge, config, ip, own_address, vip, within};
use super::wire::{Wire, mac};

const HEARD: Duration = Duration::from_secs(10);

fn mac_of(host: &Host, device: &str) -> Mac {
    let text = ip(host, &format!("-o link show dev {device}"));
    let (_, rest) = text.split_once("link/ether ").unwrap();
    Mac(mac(rest.split(' ').next().unwrap()))
}

/// The MAC that a host has for an address.
fn known(host: &Host, address: IpAddr) -> String {
    let text = ip(host, &format!("neigh show {address}"));
    text.split_once("lladdr ").map(|(_, rest)| rest.split(' ').next().unwrap().to_owned()).unwrap_or(text)
}

/// What is asked on the servers' segment, as the daemon shall put it together.
async fn wanted(balancer: &Balancer, excluded: &[Mac]) -> Wanted {
    let network = balancer.network.borrow().clone();
    let mut wanted = Wanted { segments: Vec::new(), excluded: excluded.iter().copied().collect() };
    wanted.excluded.extend(network.links.values().map(|link| link.mac));
    for (link, vips) in to_ask(&balancer.state(), &network) {
        let way = balancer.route.way_to(own_address(1, true)).await.unwrap().unwrap();
        let Some(IpAddr::V6(source)) = way.source else { panic!("{way:?}") };
        wanted.segments.push(Segment { link, mac: network.links[&link].mac, source6: Some(source), vips });
    }
    wanted
}

#[test]
fn servers_that_speak_for_the_virtual_ip_are_named_and_asking_teaches_nobody() {
    let site = Site::build(&mail::plan(4)).unwrap();
    let host = |name: &str| site.host(name).unwrap().clone();
    let (pc1, pc2, pc3, pc4, router) = (host("pc1"), host("pc2"), host("pc3"), host("pc4"), host(ROUTER));
    // pc1 is as it should be, pc4 may (as if it were the peer).
    for bad in [&pc2, &pc4] {
        bad.sysctl("net.ipv4.conf.all.arp_ignore", "0").unwrap();
    }
    ip(&pc3, "-6 addr add 2001:db8::25/128 dev eth0 nodad");
    pc3.sysctl("net.ipv4.conf.all.arp_announce", "0").unwrap();
    within(&site, BALANCER, move || async move {
        let balancer = Balancer::start(config(&bridge(4), 4), true).await;
        // The router knows the owner, before and after.
        for v6 in [false, true] {
            ip(&router, &format!("neigh replace {} lladdr {BALANCER_MAC} dev lan nud reachable", vip(v6)));
        }
        let watch = VipWatch::start().unwrap();
        let mut claims = watch.claims();
        watch.set(wanted(&balancer, &[mac_of(&pc4, "eth0")]).await);
        let (two, three) = (mac_of(&pc2, "eth0"), mac_of(&pc3, "eth0"));
        let mut expected: BTreeSet<VipClaim> = [
            VipClaim { vip: vip(false), mac: two, how: How::Answers },
            VipClaim { vip: vip(true), mac: three, how: How::Answers },
        ]
        .into();
        let heard = tokio::time::timeout(HEARD, claims.wait_for(|now| *now == expected)).await.is_ok();
        assert!(heard, "{:?}", claims.borrow());
        // pc3 looks for somebody with the virtual IP as its source.
        let nobody: SocketAddr = "10.1.0.77:9".parse().unwrap();
        let look = move || UdpSocket::bind((vip(false), 0)).and_then(|socket| socket.send_to(b"?", nobody));
        pc3.enter(look).unwrap().unwrap();
        expected.insert(VipClaim { vip: vip(false), mac: three, how: How::Asks });
        let heard = tokio::time::timeout(HEARD, claims.wait_for(|now| *now == expected)).await.is_ok();
        assert!(heard, "{:?}", claims.borrow());

        let texts = warnings(&claims.borrow(), &balancer.state(), &balancer.network.borrow());
        let starts: Vec<_> = texts.iter().map(|text| text.split(" (dsr)").next().unwrap()).collect();
        assert_eq!(
            starts,
            [
                "pc2 answers ARP for 192.0.2.25",
                "pc3 answers neighbour discovery for 2001:db8::25",
                "pc3 asks by ARP in the name of 192.0.2.25"
            ]
        );
        for (v6, host) in [(false, &pc1), (true, &pc1), (true, &router)] {
            let has = known(host, vip(v6));
            assert!(has.is_empty() || has == BALANCER_MAC, "{} has {} at {has}", host.name(), vip(v6));
        }
        // What pc3 says by itself teaches; our question of IPv4 does not, which pc1 shows.
        assert_eq!(known(&router, vip(true)), BALANCER_MAC);
        drop(watch);
        assert!(claims.changed().await.is_err(), "the task ends with its handle");
        balancer.end().await;
    });
}

#[test]
fn questions_come_from_nobody_or_from_an_own_address_within_two_seconds_of_being_wanted() {
    /// The first at once, the second a gap later.
    const ASKED: Duration = Duration::from_secs(2);
    let site = Site::build(&mail::plan(1)).unwrap();
    let wire = Wire::open(site.host("pc1").unwrap(), "eth0");
    within(&site, BALANCER, move || async move {
        let balancer = Balancer::start(config(&bridge(1), 1), true).await;
        let mut wanted = wanted(&balancer, &[]).await;
        let own = wanted.segments[0].source6.unwrap();
        for source6 in [Some(own), None] {
            wanted.segments[0].source6 = source6;
            while wire.receive(Instant::now()).is_some() {}
            let watch = VipWatch::start().unwrap();
            watch.set(wanted.clone());
            tokio::time::sleep(ASKED).await;
            let heard: Vec<_> = std::iter::from_fn(|| wire.receive(Instant::now())).collect();
            let arps: Vec<_> = heard.iter().filter(|f| f[12..14] == [8, 6] && f[38..42] == [192, 0, 2, 25]).collect();
            assert_eq!(arps.len(), 1, "{arps:02x?}");
            assert_eq!((&arps[0][..6], &arps[0][28..32]), (&[0xff; 6][..], &[0; 4][..]), "to all, from nobody");
            assert_eq!(arps[0][6..12], mac(BALANCER_MAC));
            let solicits = heard.iter().filter(|f| f[12..14] == [0x86, 0xdd] && f[54] == 135);
            let sources: Vec<_> =
                solicits.filter(|f| f[62..78] == vip6().octets()).map(|f| f[22..38].to_vec()).collect();
            let expected: Vec<_> = source6.iter().map(|source| source.octets().to_vec()).collect();
            assert_eq!(sources, expected, "from an own address, never from ::");
        }
        balancer.end().await;
    });
}

fn vip6() -> Ipv6Addr {
    let IpAddr::V6(six) = vip(true) else { unreachable!() };
    six
}
