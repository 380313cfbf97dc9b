//! Least connections: the data plane walks a list and takes the member with the fewest connections in
//! proportion to its weight, so the list is short.

use super::Seat;
use crate::core::forwarding::Weight;

/// `LBD_LEAST_CONNECTIONS_MAX` of the data plane: as many as a new connection can be made to look at.
pub const ENTRIES_MAX: usize = 256;

pub(super) fn weights(seats: &[Seat<'_>]) -> Vec<Weight> {
    seats.iter().map(|seat| Weight(seat.weight)).collect()
}
