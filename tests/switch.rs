//! The box as a switch, against a real kernel: the bridge that lbd sets up, ports that are opened and blocked, the
//! loop of two boxes, announcements in one go. Needs root; every namespace is the test's own.

#[path = "switch/daemon.rs"]
mod daemon;
#[path = "switch/ports.rs"]
mod ports;
#[path = "switch/setup.rs"]
mod setup;
#[path = "switch/stage.rs"]
mod stage;
#[path = "switch/two.rs"]
mod two;
