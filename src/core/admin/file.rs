//! The orders as a JSON file.
//!
//! ```text
//! {"version":2,"orders":[{"server":"pc2","state":"draining","since_ms":1795000000000,
//!   "deadline_ms":1795001800000,"then":"remove","connections_at_begin":120},
//!   {"server":"pc3","pool":"relay","state":"disabled",...}]}
//! ```
//!
//! Times are Unix time in milliseconds. Version 1, `{"version":1,"servers":{"pc2":"draining"}}`, is
//! read too; it did not say since when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Admin, AdminState, Order, Subject, Then};
use crate::config::Name;
use crate::core::moment::UnixTime;

/// Raised when the meaning of the file changes.
const FILE_VERSION: u32 = 2;

/// Why persisted state was not read.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(
        "the administrative state is not what this program writes ({0}); remove the file to start with every server enabled"
    )]
    Malformed(#[from] serde_json::Error),
    #[error(
        "the administrative state is of version {found}, this program reads {FILE_VERSION} and below; \
         run the newer program, or remove the file to start with every server enabled"
    )]
    Version { found: u32 },
    #[error("the administrative state names a server or a pool wrongly: {0}")]
    Name(String),
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileV1 {
    #[serde(rename = "version")]
    _version: u32,
    servers: BTreeMap<String, AdminState>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    orders: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    state: AdminState,
    since_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    #[serde(default)]
    then: Then,
    connections_at_begin: u64,
}

impl Admin {
    /// The text to persist.
    pub fn to_json(&self) -> Result<String, AdminError> {
        let orders = self
            .orders()
            .map(|(subject, order)| Row {
                server: subject.server().to_string(),
                pool: subject.pool().map(Name::to_string),
                state: order.state,
                since_ms: order.since.as_millis(),
                deadline_ms: order.deadline.map(UnixTime::as_millis),
                then: order.then,
                connections_at_begin: order.connections_at_begin,
            })
            .collect();
        Ok(serde_json::to_string(&File { version: FILE_VERSION, orders })?)
    }

    /// Reads what `to_json` wrote, of this version or the one before. `now` stands for what version 1
    /// did not keep: since when.
    pub fn from_json(text: &str, now: UnixTime) -> Result<Self, AdminError> {
        let mut admin = Self::default();
        let rows = match serde_json::from_str::<Version>(text)?.version {
            1 => {
                let file: FileV1 = serde_json::from_str(text)?;
                let row = |(server, state)| Row {
                    server,
                    pool: None,
                    state,
                    since_ms: now.as_millis(),
                    deadline_ms: None,
                    then: Then::Nothing,
                    connections_at_begin: 0,
                };
                file.servers.into_iter().map(row).collect()
            }
            FILE_VERSION => serde_json::from_str::<File>(text)?.orders,
            found => return Err(AdminError::Version { found }),
        };
        for row in rows {
            let name = |text: &str| Name::new(text).map_err(AdminError::Name);
            let server = name(&row.server)?;
            let subject = match &row.pool {
                Some(pool) => Subject::Member { pool: name(pool)?, server },
                None => Subject::Server(server),
            };
            admin.put(
                &subject,
                Order {
                    state: row.state,
                    since: UnixTime::from_millis(row.since_ms),
                    deadline: row.deadline_ms.map(UnixTime::from_millis),
                    then: row.then,
                    connections_at_begin: row.connections_at_begin,
                },
            );
        }
        Ok(admin)
    }
}
