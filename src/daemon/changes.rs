//! Looks at the appliance after each turn of the loop, and records what has changed by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::appliance::Appliance;
use super::pair::Pair;
use crate::core::control::PairState;
use crate::core::control::word::Word;
use crate::core::events::seen::{PairSeen, Seen, between};
use crate::core::forwarding::ServiceKey;
use crate::core::network::IfIndex;

/// What was seen last.
#[derive(Default)]
pub struct Changes {
    seen: Seen,
    /// The plan that services and ports were seen in.
    plans: u64,
}

impl Changes {
    pub fn look(&mut self, appliance: &Appliance, pair: Option<&Pair>) {
        let mut now = Seen {
            alarms: appliance.alarms.iter().map(|(about, words)| ((*about).to_owned(), words.clone())).collect(),
            pair: pair.and_then(|pair| pair.access().state(appliance)).and_then(|pair| of_pair(&pair)),
            ..Seen::default()
        };
        // A thread that says nothing for a moment is no news.
        now.pair = now.pair.or_else(|| self.seen.pair.clone());
        if self.plans == appliance.plans {
            now.services = self.seen.services.clone();
            now.ports = self.seen.ports.clone();
        } else {
            self.plans = appliance.plans;
            now.services = Arc::new(services(appliance));
            now.ports = Arc::new(ports(appliance));
        }
        for what in between(&self.seen, &now) {
            appliance.events.record(what);
        }
        self.seen = now;
    }
}

fn services(appliance: &Appliance) -> BTreeMap<(String, String), bool> {
    let plan = &appliance.plan;
    let name = |key: &ServiceKey| (format!("{}/{}", key.virtual_server, key.service), key.family.word().to_owned());
    let mut found: BTreeMap<_, _> = plan.state.services.keys().map(|key| (name(key), false)).collect();
    for (dest, _) in plan.members.iter().filter(|(_, standing)| standing.is_scheduled()) {
        found.insert(name(&dest.service), true);
    }
    found
}

fn ports(appliance: &Appliance) -> BTreeMap<String, bool> {
    let name = |index: &IfIndex| appliance.network.name_of(*index);
    appliance.plan.state.ports.iter().map(|(index, port)| (name(index), port.forwarding)).collect()
}

/// Nothing before the pair has begun: no path has brought anything then.
fn of_pair(pair: &PairState) -> Option<PairSeen> {
    if pair.state == "init" {
        return None;
    }
    let trouble = |trouble: &Option<String>| trouble.as_ref().map_or_else(String::new, |words| format!(": {words}"));
    let paths = pair.paths.iter().map(|path| (path.name.clone(), (!path.alive).then(|| trouble(&path.trouble))));
    let silent = !pair.paths.iter().any(|path| path.alive);
    let peer_unready = match &pair.peer {
        _ if silent => Some("it is silent".to_owned()),
        None => Some("it was never heard".to_owned()),
        Some(peer) => (!peer.ready).then(|| format!("it is not ready, its state is {}", peer.state)),
    };
    Some(PairSeen { state: pair.state.to_owned(), paths: paths.collect(), peer_unready })
}
