//! A world in which two boxes run the election, and everything that can go wrong does.
//!
//! Discrete events, one thread, no clock and no chance but a seed: the same seed is the same world. A box is the
//! real [`Election`](super::election::Election), a data plane that holds a lease in its own clock and answers
//! questions whether the daemon lives or not, and what is pinned and what is on disk. Between them are a
//! cross-connect, a LAN and a slow serial line.
//!
//! ```text
//! cargo test --lib pair::simulation                      all of it
//! LBD_SEED=17 cargo test --lib pair::simulation::random::the_rules -- --nocapture
//!                                                        one random schedule again, told step by step
//! LBD_SCHEDULES=1000000 …                                more of them
//! LBD_TELL=1 cargo test --lib a_lost_grant -- --nocapture   a schedule by name, told
//! ```
mod boxes;
mod checker;
mod network;
mod random;
mod rng;
mod schedules;
mod steps;
mod world;
