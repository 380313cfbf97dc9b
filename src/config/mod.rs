//! The declarative model: what the operator asked for.
//!
//! `model` is plain data without a notation; `validate` refuses what cannot
//! work, whoever wrote it; `yaml` reads and writes it as a file, with the
//! place of every value; `diagnostic` says what is wrong, and where.
pub mod common;
pub mod compose;
pub mod diagnostic;
pub mod edit;
pub mod http;
pub mod limits;
pub mod logging;
pub mod model;
pub mod pair;
pub mod probe;
pub mod profile;
pub mod resolve;
pub mod running;
pub(crate) mod services;
pub mod suggest;
#[cfg(test)]
pub mod testing;
pub mod users;
pub mod validate;
pub mod yaml;

pub use diagnostic::{Diagnostic, Refused, Severity};
pub use http::{Date, Http, HttpTls, Token, TokenHash};
pub use logging::{AgentAddress, Facility, LogServer, LogSeverity, LogTransport, Logging, Snmp};
pub use model::*;
pub use pair::Pair;
pub use probe::*;
pub use profile::{Defaults, Profile};
pub use running::Running;
pub use users::{Secret, Ssh, SshKey, User};
pub use yaml::{Loaded, json_schema, load, parse, to_yaml};
