//! What the tests of the listener have of a daemon.

#[path = "../http_support/fake.rs"]
pub mod fake;
#[path = "../http_support/sample.rs"]
pub mod sample;
