//! Source hash: Maglev's table, which the data plane enters with a hash of the client's address alone,
//! so that a client stays with a server without anyone remembering it.

use super::{Seat, maglev};

pub(super) fn slots(seats: &[Seat<'_>], size: u32) -> Vec<u32> {
    maglev::slots(seats, size)
}
