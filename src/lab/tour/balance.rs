//! Every service balances, in both address families, and the servers see whom the mode promises.

use std::net::{IpAddr, SocketAddr};

use super::{CROWD, FAIR, Stage, spread};
use crate::lab::customer::{Tally, Visit};
use crate::lab::mail::{self, OFFERS, Offer};
use crate::lab::servers::Kind;

impl Stage<'_> {
    pub(super) async fn balance(&mut self) -> anyhow::Result<()> {
        self.teller.scene(&format!("Balance: {CROWD} customers at every service"));
        for offer in OFFERS {
            for target in [offer.address4(), offer.address6()] {
                self.crowd(offer, target, false).await?;
            }
        }
        self.teller.say(&format!("   Now from {} addresses instead of one:", mail::CUSTOMERS));
        for offer in OFFERS.iter().filter(|offer| [Kind::Smtp, Kind::Imap].contains(&offer.kind)) {
            for target in [offer.address4(), offer.address6()] {
                self.crowd(*offer, target, true).await?;
            }
        }
        Ok(())
    }

    /// One crowd at one address: all served, in fair shares, and seen as the mode promises.
    async fn crowd(&mut self, offer: Offer, target: SocketAddr, many: bool) -> anyhow::Result<()> {
        let mut visit = Visit::new(offer.kind, target).times(CROWD);
        visit.udp = offer.udp;
        if many {
            visit.from = mail::customers(target.is_ipv6());
        }
        let own = visit.from.clone();
        let what = format!("{:8} {:9} {target}", offer.mode, offer.service());
        let tally = self.visit(&what, visit).await?;
        let fair = offer.servers().iter().all(|server| FAIR.contains(&tally.of(server)));
        let seen = seen_as_promised(&tally, offer, target, &own);
        let served = tally.served_count() == CROWD;
        let mut text = format!("{what:44} {}", spread(&tally));
        match tally.seen_as.first() {
            Some(_) if !seen => text += &format!("; but the servers saw {:?}", tally.seen_as),
            Some(one) if tally.seen_as.len() == 1 => text += &format!(", who saw {one}"),
            Some(_) => text += &format!(", who saw {} addresses", tally.seen_as.len()),
            None => {}
        }
        self.teller.claim(served && fair && seen, &text);
        Ok(())
    }
}

/// In DSR and NAT the server sees the customer, in full NAT the balancer.
fn seen_as_promised(tally: &Tally, offer: Offer, target: SocketAddr, own: &[IpAddr]) -> bool {
    tally.seen_as.iter().all(|seen| match offer.mode {
        "full-nat" => mail::SOURCE_NAT.contains(seen) && seen.is_ipv4() == target.is_ipv4(),
        _ if own.is_empty() => !mail::SOURCE_NAT.contains(seen),
        _ => own.contains(seen),
    })
}
