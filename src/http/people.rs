//! Who is logged in at the command line, and what the daemon has written down.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;

use super::api::App;
use super::problem::{Problem, quoted};
use super::query::{Keys, within};
use crate::cli::ssh::status;
use crate::cli::{lines, monitor};

/// Lines that are told when nothing is said of how many.
const LINES_DEFAULT: usize = 100;
pub const LINES_MAX: usize = 500;

/// A session of the command line.
#[derive(Serialize, JsonSchema)]
pub struct LineReport {
    number: usize,
    user: String,
    from: String,
    level: u8,
    /// Since the last key.
    idle_seconds: u64,
}

pub async fn list() -> Json<Vec<LineReport>> {
    let report = |line: lines::Line| LineReport {
        number: line.number,
        user: line.user,
        from: line.from,
        level: line.level,
        idle_seconds: line.idle.as_secs(),
    };
    Json(lines::list().into_iter().map(report).collect())
}

pub async fn end(path: Path<String>) -> Result<StatusCode, Problem> {
    match path.parse().is_ok_and(lines::clear) {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            let detail = format!("there is no session on line {}; GET /api/v1/lines has them", quoted(&path));
            Err(Problem::new(StatusCode::NOT_FOUND, detail))
        }
    }
}

/// The last lines of the log.
#[derive(Serialize, JsonSchema)]
pub struct Log {
    /// The oldest first.
    lines: Vec<String>,
}

pub async fn log(uri: Uri) -> Result<Json<Log>, Problem> {
    let mut count = LINES_DEFAULT;
    for (key, value) in Keys::read(&uri, &["limit"])? {
        count = within(key, &value, 1..=LINES_MAX)?;
    }
    let all = monitor::last();
    let from = all.len().saturating_sub(count);
    Ok(Json(Log { lines: all.iter().skip(from).map(ToString::to_string).collect() }))
}

/// The SSH listener.
#[derive(Serialize, JsonSchema)]
pub struct SshReport {
    /// SHA256:… of its key; none: the log says why.
    fingerprint: Option<String>,
    listening: Vec<ListeningReport>,
    /// Networks that may connect; empty: all.
    access: Vec<String>,
}

/// An address of the configuration, and what has become of it.
#[derive(Serialize, JsonSchema)]
pub struct ListeningReport {
    wanted: String,
    /// Where it listens; none: see why.
    at: Option<String>,
    why: Option<String>,
}

pub async fn ssh(State(app): State<App>) -> Result<Json<SshReport>, Problem> {
    let config = app.wait(app.control.config()).await??;
    let status = status::get();
    let listening = status.listening.iter().map(|one| ListeningReport {
        wanted: one.wanted.to_string(),
        at: one.at.as_ref().ok().map(ToString::to_string),
        why: one.at.as_ref().err().cloned(),
    });
    Ok(Json(SshReport {
        fingerprint: status.fingerprint.clone(),
        listening: listening.collect(),
        access: config.ssh.access.iter().map(ToString::to_string).collect(),
    }))
}
