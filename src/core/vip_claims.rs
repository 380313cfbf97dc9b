//! Who speaks for a virtual IP of direct server return beside its owner: a server that answers ARP for the VIP on
//! its loopback gets customers past the balancer, unbalanced and unproven.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::forwarding::ForwardingState;
use super::network::{IfIndex, Network};
use crate::config::{Mac, Mode};

/// Most claims that are remembered at once: a segment on which more machines answer has another problem.
const CLAIMS_MAX: usize = 256;
/// A claim is believed over so many rounds of questions without hearing it again: one lost answer is no news.
const ROUNDS: u8 = 2;

/// A MAC that speaks for a virtual IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VipClaim {
    pub vip: IpAddr,
    pub mac: Mac,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// To a question for the address: an ARP reply, or a neighbour advertisement.
    Answers,
    /// By asking for another address in its name: whoever hears such an ARP request may learn the MAC.
    Asks,
}

/// What has been heard, by the rounds since.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    heard: BTreeMap<VipClaim, u8>,
}

impl Claims {
    /// `true`: it is new.
    pub fn hear(&mut self, claim: VipClaim) -> bool {
        if self.heard.len() >= CLAIMS_MAX && !self.heard.contains_key(&claim) {
            return false;
        }
        self.heard.insert(claim, 0).is_none()
    }

    /// A round of questions is over; `true`: something has been forgotten.
    pub fn end_round(&mut self) -> bool {
        let before = self.heard.len();
        self.heard.retain(|_, rounds| {
            *rounds += 1;
            *rounds <= ROUNDS
        });
        self.heard.len() != before
    }

    /// Forgets what is not asked for any more.
    pub fn retain(&mut self, wanted: impl Fn(&VipClaim) -> bool) -> bool {
        let before = self.heard.len();
        self.heard.retain(|claim, _| wanted(claim));
        self.heard.len() != before
    }

    pub fn all(&self) -> BTreeSet<VipClaim> {
        self.heard.keys().copied().collect()
    }
}

/// Which virtual IPs to ask for, by the interface on whose segment their servers are. A server whose place the
/// configuration states (`link`) has no such interface.
pub fn to_ask(state: &ForwardingState, network: &Network) -> BTreeMap<IfIndex, BTreeSet<IpAddr>> {
    let mut asked: BTreeMap<IfIndex, BTreeSet<IpAddr>> = BTreeMap::new();
    for (key, dest) in state.dests.iter().filter(|(_, dest)| dest.mode == Mode::Dsr) {
        let (Some(neighbour), Some(service)) =
            (network.neighbours.get(&dest.address), state.services.get(&key.service))
        else {
            continue;
        };
        asked.entry(neighbour.link).or_default().extend(&service.addresses);
    }
    asked
}

/// What the operator should know of each claim, with the server's name where the MAC is one's.
pub fn warnings(claims: &BTreeSet<VipClaim>, state: &ForwardingState, network: &Network) -> BTreeSet<String> {
    claims.iter().map(|claim| format!("{} {}", speaker(claim.mac, state, network), words(claim))).collect()
}

fn speaker(mac: Mac, state: &ForwardingState, network: &Network) -> String {
    let by_address = state.servers.iter().filter(|(_, server)| {
        let macs = server.addresses.iter().filter_map(|address| Some(network.neighbours.get(address)?.mac));
        macs.into_iter().any(|known| known == mac)
    });
    let by_place = state.dests.iter().filter(|(_, dest)| dest.place.is_ok_and(|place| place.mac == mac));
    let names: BTreeSet<&str> =
        by_address.map(|(name, _)| name.as_str()).chain(by_place.map(|(key, _)| key.server.as_str())).collect();
    if names.is_empty() {
        return format!("{mac}, which is no server's,");
    }
    names.into_iter().collect::<Vec<_>>().join(" or ")
}

fn words(claim: &VipClaim) -> String {
    let vip = claim.vip;
    match (claim.how, vip) {
        (How::Answers, IpAddr::V4(_)) => format!(
            "answers ARP for {vip} (dsr): customers may reach it past the balancer; set arp_ignore=1 and \
             arp_announce=2 on it (docs/health.md)"
        ),
        (How::Answers, IpAddr::V6(_)) => format!(
            "answers neighbour discovery for {vip} (dsr): customers may reach it past the balancer; have the address \
             on its loopback (lo) only, and proxy_ndp=0 (docs/health.md)"
        ),
        (How::Asks, _) => format!(
            "asks by ARP in the name of {vip} (dsr): its neighbours may learn that the address is there, and reach it \
             past the balancer; set arp_announce=2 on it (docs/health.md)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Name;
    use crate::core::forwarding::ServerEntry;
    use crate::core::network::Neighbour;

    const MAC: Mac = Mac([2, 0, 0, 0, 3, 3]);

    fn claim(vip: &str, how: How) -> VipClaim {
        VipClaim { vip: vip.parse().unwrap(), mac: MAC, how }
    }

    #[test]
    fn a_claim_is_believed_for_two_rounds_without_hearing_it_again() {
        let mut claims = Claims::default();
        let heard = claim("192.0.2.25", How::Answers);
        assert!(claims.hear(heard));
        assert!(!claims.end_round() && !claims.hear(heard), "heard again, it is not new");
        assert!(!claims.end_round() && !claims.end_round());
        assert_eq!(claims.all(), [heard].into());
        assert!(claims.end_round());
        assert_eq!(claims.all(), [].into());
    }

    #[test]
    fn however_many_machines_answer_what_is_remembered_is_bounded() {
        let mut claims = Claims::default();
        for n in 0..100_000_u32 {
            let [a, b, c, d] = n.to_be_bytes();
            claims.hear(VipClaim { mac: Mac([2, 0, a, b, c, d]), ..claim("192.0.2.25", How::Answers) });
        }
        assert_eq!(claims.all().len(), CLAIMS_MAX);
    }

    #[test]
    fn the_warning_names_the_server_by_its_mac_and_what_to_set_on_it() {
        let (mut state, mut network) = (ForwardingState::default(), Network::default());
        let address = "10.1.0.13".parse().unwrap();
        let claims = [claim("192.0.2.25", How::Answers), claim("2001:db8::25", How::Answers)];
        let unknown = warnings(&claims[..1].iter().copied().collect(), &state, &network);
        assert_eq!(
            unknown.into_iter().collect::<Vec<_>>(),
            ["02:00:00:00:03:03, which is no server's, answers ARP for 192.0.2.25 (dsr): customers may reach it past \
              the balancer; set arp_ignore=1 and arp_announce=2 on it (docs/health.md)"]
        );
        network.neighbours.insert(address, Neighbour { link: 1, mac: MAC });
        let entry = ServerEntry { addresses: [address].into(), max_connections: 0 };
        state.servers.insert(Name::new("pc3").unwrap(), entry);
        let named = warnings(&claims.into(), &state, &network);
        assert_eq!(
            named.into_iter().collect::<Vec<_>>(),
            [
                "pc3 answers ARP for 192.0.2.25 (dsr): customers may reach it past the balancer; set arp_ignore=1 and \
                 arp_announce=2 on it (docs/health.md)",
                "pc3 answers neighbour discovery for 2001:db8::25 (dsr): customers may reach it past the balancer; \
                 have the address on its loopback (lo) only, and proxy_ndp=0 (docs/health.md)",
            ]
        );
    }
}
