//! What a face (HTTP, CLI) may ask of the daemon: to see its `State`, and to do something at once.
//!
//! `Control` is the seam. The daemon stands behind it and keeps all logic; a face translates, and
//! refuses what it cannot translate. Of the three types that every face works on, `Config` is
//! `crate::config::Config`, `State` is here, and an operation is a method of `Control`, so that each
//! has its own answer and its own errors.
pub mod capture;
pub mod connections;
pub mod editing;
pub mod explain;
pub mod history;
pub mod logging;
pub mod logins;
pub mod order;
pub mod pair;
pub mod shortage;
pub mod state;
pub mod word;

pub use capture::{CaptureOrder, CapturePiece, CaptureReport, TopOrder, TopRow};
pub use connections::{CHUNK_ROWS_MAX, Chunk, ConnectionRow, Filter, FlowState, LIMIT_DEFAULT, LIMIT_MAX};
pub use editing::{Change, ConfigError, ConfigOrder, Editor, Hold, InForce, Saved, Which};
pub use explain::{Explanation, PacketQuestion};
pub use history::{HistoryState, ServerHistory};
pub use logging::{LogServerState, LoggingState};
pub use logins::{Door, LoginState, Logins};
pub use order::{Action, Order, OrderReport};
pub use pair::{PairConfigState, PairHealthState, PairOrder, PairState, PathState, PeerState, SyncState};
pub use shortage::Shortage;
pub use state::State;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{broadcast, mpsc};

use super::admin::AdminState;
use super::events::{Event, EventFilter, EventPage, What};
use crate::config::{Config, Refused};

/// The daemon, as a face sees it. An answer that takes long is the caller's to give up on: dropping a
/// future leaves nothing half done, because a face runs operations to their end.
pub trait Control: Send + Sync + 'static {
    /// What is true now: read when asked, never an older copy.
    fn state(&self) -> BoxFuture<'_, Result<Arc<State>, OperationError>>;

    /// What the servers have done in the last half hour.
    fn history(&self) -> BoxFuture<'_, Result<HistoryState, OperationError>>;

    /// Where logins are counted.
    fn logins(&self) -> &Logins;

    /// The configuration in force.
    fn config(&self) -> BoxFuture<'_, Result<Arc<Config>, OperationError>>;

    /// The same, for whoever wants to change it.
    fn running(&self) -> BoxFuture<'_, Result<InForce, OperationError>>;

    /// Puts another configuration in force, if nobody else has meanwhile; all of it, or nothing.
    fn configure(&self, change: Change) -> BoxFuture<'_, Result<ReloadReport, ConfigError>>;

    /// Does something with the configuration as a whole; what the operator should know of it.
    fn config_order(&self, by: Editor, order: ConfigOrder) -> BoxFuture<'_, Result<Vec<String>, ConfigError>>;

    /// A configuration that is on disk.
    fn on_disk(&self, which: Which) -> BoxFuture<'_, Result<Arc<Config>, ConfigError>>;

    /// What is in the archive, the oldest first.
    fn archive(&self) -> BoxFuture<'_, Result<Vec<Saved>, ConfigError>>;

    /// Carries out an order about a server or a member, to its end.
    fn order(&self, order: Order) -> BoxFuture<'_, Result<OrderReport, OperationError>>;

    /// Carries out an order about the pair: it is on its way when this returns, and the state shows what came of it.
    fn pair_order(&self, order: PairOrder) -> BoxFuture<'_, Result<(), OperationError>>;

    /// What the data plane would do with a packet now. Changes nothing, and counts nothing.
    fn explain(&self, question: PacketQuestion) -> BoxFuture<'_, Result<Explanation, OperationError>>;

    /// Has packets told of as they pass, one such order at a time. The channel holds few pieces; what comes faster than
    /// they are taken is lost, and counted. It is over when the receiver is dropped.
    fn capture(
        &self,
        by: Editor,
        order: CaptureOrder,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<CapturePiece>, OperationError>>;

    /// Who uses a service most, counted for the time that the order says.
    fn top(&self, by: Editor, order: TopOrder) -> BoxFuture<'_, Result<Vec<TopRow>, OperationError>>;

    /// Reads the configuration file again and applies what has changed; all of it, or nothing.
    fn reload(&self) -> BoxFuture<'_, Result<ReloadReport, ReloadError>>;

    /// Walks over the established connections. The channel holds two chunks, so that the walk waits for
    /// its reader and a million rows are never a million rows in memory; it stops when the receiver is
    /// dropped. It ends with `Chunk::End`: a channel that closes without is a walk that broke off.
    fn connections(&self, filter: Filter) -> BoxFuture<'_, Result<mpsc::Receiver<Chunk>, OperationError>>;

    /// What has happened, as far as it is remembered.
    fn events(&self, filter: EventFilter) -> BoxFuture<'_, Result<EventPage, OperationError>>;

    /// What happens from now on. Whoever is slow misses some, and is told how many.
    fn follow_events(&self) -> broadcast::Receiver<Arc<Event>>;

    /// Something has happened at the face itself: somebody has logged in, or was not let in.
    fn happened(&self, what: What);
}

/// What a reload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReloadReport {
    /// Number of the configuration that is in force now.
    pub revision: u64,
    /// Whether the file differed from the configuration in force.
    pub changed: bool,
    /// What the operator should know of it, warnings of the validation included.
    pub notes: Vec<String>,
}

/// Why an operation was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    #[error("there is no server {name:?}")]
    NoSuchServer {
        name: String,
        /// A name that looks alike.
        suggestion: Option<String>,
    },
    #[error("there is no pool {name:?}")]
    NoSuchPool {
        name: String,
        /// A name that looks alike.
        suggestion: Option<String>,
    },
    #[error("server {server:?} is not a member of pool {pool:?}; its members are: {}", members.join(", "))]
    NotAMember { server: String, pool: String, members: Vec<String> },
    #[error(
        "{server:?} is the last member that takes new connections in {}; bring another one back first, or use force",
        services.join(", ")
    )]
    LastMember {
        server: String,
        /// The services that would be left with nobody, as `virtual-server/service`.
        services: Vec<String>,
    },
    #[error("{server:?} is needed: {}; bring another member back first, or use force", told(pools))]
    BelowMinimum { server: String, pools: Vec<Shortage> },
    #[error(
        "{server:?} is {state} and has {connections} connections; drain it first and wait until none is left, \
         or use force, which ends them"
    )]
    NotDrained { server: String, state: AdminState, connections: u64 },
    /// The configuration file was not changed, in words that say why.
    #[error("{server:?} was not taken out of the configuration: {why}")]
    NotRemoved { server: String, why: String },
    /// A question names what is not there: what, and what is near.
    #[error("{0}")]
    NotThere(String),
    #[error("this box has no pair: there is no `pair` in its configuration")]
    NoPair,
    #[error("no hand-over: {0}")]
    NoHandOver(String),
    #[error("no choice of a configuration: {0}")]
    NoConfigChoice(String),
    /// The daemon does not answer now: it starts, stops, or hangs.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// Something failed below; in words that an operator can act on.
    #[error("{0}")]
    Failed(String),
}

fn told(pools: &[Shortage]) -> String {
    pools.iter().map(Shortage::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a reload changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Operation(#[from] OperationError),
}
