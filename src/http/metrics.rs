//! `State` as Prometheus reads it.
//!
//! Every scrape makes all families anew from the state of that moment. There is no registry, because
//! what it would keep could be stale: a server that has left the configuration has no series.
//!
//! Labels are names from the configuration or words of this program, so that their number is bounded;
//! never a client's address. docs/monitoring.md tells what each is good for.

mod daemon;
mod dataplane;
mod families;
mod members;
mod pair;
mod services;

use prometheus::proto::MetricFamily;
use prometheus::{Error, TextEncoder};

use crate::core::control::State;
use families::Families;

/// The state in the text format 0.0.4.
pub fn text(state: &State) -> Result<String, Error> {
    let mut text = TextEncoder::new().encode_to_string(&families(state))?;
    members::members(state, &mut text);
    Ok(text)
}

fn families(state: &State) -> Vec<MetricFamily> {
    let mut families = Families::default();
    daemon::daemon(state, &mut families);
    services::services(state, &mut families);
    services::pools(state, &mut families);
    services::servers(state, &mut families);
    services::orders(state, &mut families);
    dataplane::probes(state, &mut families);
    dataplane::packets(state, &mut families);
    dataplane::table(state, &mut families);
    dataplane::interfaces(state, &mut families);
    if let Some(state) = &state.pair {
        pair::pair(state, &mut families);
    }
    families.0
}
