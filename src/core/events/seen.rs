//! What is seen of the box from time to time, and the events that lie between two looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::What;

/// What was seen in one look. What is not in it yet, or no longer, is no event, unless it is bad from the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether somebody takes new connections, by service and family.
    pub services: Arc<BTreeMap<(String, String), bool>>,
    /// Whether it forwards, by port.
    pub ports: Arc<BTreeMap<String, bool>>,
    /// What an operator should look at, by what it is about.
    pub alarms: BTreeMap<String, String>,
    /// None: this box is alone, or its pair has not begun.
    pub pair: Option<PairSeen>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairSeen {
    pub state: String,
    /// By path: what keeps heartbeats from coming, in words behind a colon or none; `None`: they come.
    pub paths: BTreeMap<String, Option<String>>,
    /// Why the other box could not take over; `None`: it could.
    pub peer_unready: Option<String>,
}

/// What has happened between two looks.
pub fn between(before: &Seen, after: &Seen) -> Vec<What> {
    let mut found = Vec::new();
    for ((service, family), serves) in &*after.services {
        // What is new was well, as far as anybody knew.
        let served = *before.services.get(&(service.clone(), family.clone())).unwrap_or(&true);
        let (service, family) = (service.clone(), family.clone());
        match (served, *serves) {
            (true, false) => found.push(What::ServiceDown { service, family }),
            (false, true) => found.push(What::ServiceUp { service, family }),
            _ => {}
        }
    }
    for (port, forwards) in &*after.ports {
        match (*before.ports.get(port).unwrap_or(&true), *forwards) {
            (true, false) => found.push(What::PortDown { port: port.clone() }),
            (false, true) => found.push(What::PortUp { port: port.clone() }),
            _ => {}
        }
    }
    for (about, words) in after.alarms.iter().filter(|(about, words)| before.alarms.get(*about) != Some(*words)) {
        found.push(What::AlarmBegan { about: about.clone(), words: words.clone() });
    }
    for (about, words) in before.alarms.iter().filter(|(about, _)| !after.alarms.contains_key(*about)) {
        found.push(What::AlarmEnded { about: about.clone(), words: words.clone() });
    }
    if let (Some(before), Some(after)) = (&before.pair, &after.pair) {
        pair(before, after, &mut found);
    }
    found
}

fn pair(before: &PairSeen, after: &PairSeen, found: &mut Vec<What>) {
    if before.state != after.state {
        found.push(What::PairState { from: before.state.clone(), to: after.state.clone() });
    }
    for (path, trouble) in &after.paths {
        let (was_up, path) = (before.paths.get(path).is_none_or(Option::is_none), path.clone());
        match (was_up, trouble) {
            (true, Some(trouble)) => found.push(What::PathDown { path, trouble: trouble.clone() }),
            (false, None) => found.push(What::PathUp { path }),
            _ => {}
        }
    }
    match (&before.peer_unready, &after.peer_unready) {
        (None, Some(why)) => found.push(What::PeerUnready { why: why.clone() }),
        (Some(_), None) => found.push(What::PeerReady {}),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let service = |name: &str| ((name.to_owned(), "ipv4".to_owned()), true);
        Seen {
            services: Arc::new([service("mail/smtp"), service("mail/imap")].into()),
            ports: Arc::new([("eth1".to_owned(), true), ("eth2".to_owned(), true)].into()),
            alarms: BTreeMap::new(),
            pair: Some(PairSeen {
                state: "standby".into(),
                paths: [("cross".to_owned(), None), ("lan".to_owned(), None)].into(),
                peer_unready: None,
            }),
        }
    }

    fn told(before: &Seen, after: &Seen) -> Vec<String> {
        between(before, after).iter().map(|what| format!("{}: {what}", what.name())).collect()
    }

    #[test]
    fn nothing_has_happened_between_the_same() {
        assert_eq!(told(&seen(), &seen()), [] as [&str; 0]);
        assert_eq!(told(&Seen::default(), &seen()), [] as [&str; 0]);
    }

    #[test]
    fn each_change_is_an_event_and_so_is_its_end() {
        let mut bad = seen();
        Arc::make_mut(&mut bad.services).insert(("mail/smtp".into(), "ipv4".into()), false);
        Arc::make_mut(&mut bad.ports).insert("eth2".into(), false);
        bad.alarms.insert("xdp".into(), "eth2: generic XDP".into());
        let pair = bad.pair.as_mut().unwrap();
        pair.state = "active".into();
        pair.paths.insert("lan".into(), Some(": no carrier".into()));
        pair.peer_unready = Some("it is silent".into());
        assert_eq!(
            told(&seen(), &bad),
            [
                "service-down: mail/smtp (ipv4): nobody takes new connections",
                "port-down: port eth2 does not forward any more",
                "alarm-began: eth2: generic XDP",
                "pair-state: this box is active, it was standby",
                "path-down: heartbeats do not come by path lan: no carrier",
                "peer-unready: the other box could not take over: it is silent",
            ]
        );
        assert_eq!(
            told(&bad, &seen()),
            [
                "service-up: mail/smtp (ipv4): takes new connections",
                "port-up: port eth2 forwards",
                "alarm-ended: no longer so: eth2: generic XDP",
                "pair-state: this box is standby, it was active",
                "path-up: heartbeats come by path lan",
                "peer-ready: the other box could take over",
            ]
        );
    }

    #[test]
    fn what_is_bad_from_the_beginning_is_told_and_what_is_gone_is_not() {
        let mut first = Seen::default();
        Arc::make_mut(&mut first.services).insert(("mail/smtp".into(), "ipv4".into()), false);
        assert_eq!(told(&Seen::default(), &first).len(), 1);
        assert_eq!(told(&first, &Seen::default()), [] as [&str; 0]);
    }

    #[test]
    fn an_alarm_in_other_words_is_told_again() {
        let mut before = seen();
        before.alarms.insert("removal".into(), "pc1".into());
        let mut after = before.clone();
        after.alarms.insert("removal".into(), "pc1, pc2".into());
        assert_eq!(told(&before, &after), ["alarm-began: pc1, pc2"]);
    }
}
