//! What servers have done in the last half hour, in coarse steps: for a glance, and not instead of a monitoring.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::appliance::Appliance;
use super::control::unix;
use super::lock;
use crate::config::Name;
use crate::core::control::history::{HistoryState, ServerHistory};
use crate::core::plan::Standing;
use crate::dataplane::DataPlane;

/// Between two points.
const STEP: Duration = Duration::from_secs(15);
/// Points that are kept: half an hour. With 4,096 servers it is some 10 MB.
const POINTS_MAX: usize = 120;

/// Points in time, oldest first, and each server at each of them.
#[derive(Debug, Default)]
pub struct History {
    /// Unix time.
    at: VecDeque<u64>,
    /// As many as there are points; nothing before a server was configured.
    servers: BTreeMap<Name, VecDeque<Option<Seen>>>,
}

/// A server at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    connections: u32,
    /// Memberships, and how many of them a failed probe keeps out.
    members: u32,
    down: u32,
}

/// Notes a point now and then, for ever.
pub async fn keep(history: Arc<Mutex<History>>, appliance: Arc<Mutex<Appliance>>, dataplane: Arc<Mutex<DataPlane>>) {
    loop {
        let servers = tokio::task::block_in_place(|| look(&lock(&appliance), &dataplane));
        lock(&history).push(unix(SystemTime::now()), &servers);
        tokio::time::sleep(STEP).await;
    }
}

fn look(appliance: &Appliance, dataplane: &Mutex<DataPlane>) -> BTreeMap<Name, Seen> {
    let mut servers: BTreeMap<Name, Seen> =
        appliance.config.servers.keys().map(|name| (name.clone(), Seen::default())).collect();
    for (dest, standing) in &appliance.plan.members {
        let Some(seen) = servers.get_mut(&dest.server) else { continue };
        seen.members += 1;
        let is_down = matches!(standing, Standing::Down(_) | Standing::Held(_) | Standing::Flapping);
        seen.down += u32::from(is_down);
    }
    let dataplane = lock(dataplane);
    for (name, seen) in &mut servers {
        seen.connections = u32::try_from(dataplane.server_connections(name).unwrap_or(0)).unwrap_or(u32::MAX);
    }
    servers
}

impl History {
    fn push(&mut self, at: u64, servers: &BTreeMap<Name, Seen>) {
        if self.at.len() == POINTS_MAX {
            self.at.pop_front();
        }
        self.servers.retain(|name, _| servers.contains_key(name));
        for (name, seen) in servers {
            let points = self.servers.entry(name.clone()).or_insert_with(|| vec![None; self.at.len()].into());
            if points.len() > self.at.len() {
                points.pop_front();
            }
            points.push_back(Some(*seen));
        }
        self.at.push_back(at);
    }

    pub fn state(&self) -> HistoryState {
        let part_down = |seen: Seen| f64::from(seen.down) / f64::from(seen.members.max(1));
        let servers = self.servers.iter().map(|(name, points)| ServerHistory {
            name: name.to_string(),
            connections: points.iter().map(|point| point.map(|seen| seen.connections)).collect(),
            down: points.iter().map(|point| point.map(part_down)).collect(),
        });
        HistoryState { step_seconds: STEP.as_secs(), at: self.at.iter().copied().collect(), servers: servers.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(servers: &[(&str, u32, u32, u32)]) -> BTreeMap<Name, Seen> {
        let seen = |(name, connections, members, down): &(&str, u32, u32, u32)| {
            let seen = Seen { connections: *connections, members: *members, down: *down };
            (Name::new(name).unwrap(), seen)
        };
        servers.iter().map(seen).collect()
    }

    #[test]
    fn a_server_that_came_later_has_nothing_before_and_one_that_has_gone_is_gone() {
        let mut history = History::default();
        history.push(10, &servers(&[("old", 5, 1, 0), ("pc1", 1, 4, 1)]));
        history.push(25, &servers(&[("new", 3, 0, 0), ("pc1", 2, 4, 0)]));
        let state = history.state();
        assert_eq!(state.at, [10, 25]);
        let told: Vec<_> = state.servers.iter().map(|s| (s.name.as_str(), &s.connections[..], &s.down[..])).collect();
        assert_eq!(
            told,
            [
                ("new", &[None, Some(3)][..], &[None, Some(0.0)][..]),
                ("pc1", &[Some(1), Some(2)][..], &[Some(0.25), Some(0.0)][..])
            ]
        );
    }

    #[test]
    fn it_keeps_half_an_hour_and_no_more() {
        let mut history = History::default();
        let one = |at| servers(&[("pc1", at as u32, 1, 0)]);
        (0..POINTS_MAX as u64 + 7).for_each(|at| history.push(at, &one(at)));
        let state = history.state();
        assert_eq!((state.at.len(), state.at[0]), (POINTS_MAX, 7));
        assert_eq!((state.servers[0].connections.len(), state.servers[0].connections[0]), (POINTS_MAX, Some(7)));
    }
}
