//! Two balancers on a site: who owns, and what customers notice of a takeover. Needs root.

#[path = "pair/copy.rs"]
mod copy;
#[path = "pair/faults.rs"]
mod faults;
#[path = "pair/health.rs"]
mod health;
#[path = "pair/keys.rs"]
mod keys;
#[path = "pair/scrapes.rs"]
mod scrapes;
#[path = "pair/serial.rs"]
mod serial;
#[path = "pair/stage.rs"]
mod stage;
#[path = "pair/times.rs"]
mod times;
#[path = "pair/trials.rs"]
mod trials;
