//! The way in over the network, by the clients that administrators have: nothing here speaks SSH by itself.
//!
//! The clients come from Debian's packages (`tools/setup.sh test`); a test whose client is not there fails.

// The tests of the listener use more of it.
#[allow(dead_code)]
#[path = "cli/support.rs"]
mod support;

#[path = "ssh/audit.rs"]
mod audit;
#[path = "ssh/clients.rs"]
mod clients;
#[path = "ssh/limits.rs"]
mod limits;
#[path = "ssh/login.rs"]
mod login;
#[path = "ssh/memory.rs"]
mod memory;
#[path = "ssh/stage.rs"]
mod stage;
