//! The configuration: read, replaced, saved, taken back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Who;
use super::api::App;
use super::body;
use super::orders::Empty;
use super::problem::{Problem, quoted};
use super::query::Keys;
use super::secrets::{without_secrets, without_secrets_of};
use crate::access::ADMIN;
use crate::cli::notation::{self, difference};
use crate::config::limits::FILE_BYTES_MAX;
use crate::config::{Config, Running, parse, to_yaml};
use crate::core::control::{Change, ConfigError, ConfigOrder, InForce, ReloadReport, Which};

/// What the text of a request is called in errors.
const NAME: &str = "request";
/// Minutes after which what is not confirmed is taken back, as at the command line.
const HOLD_MINUTES_MAX: u64 = 120;
pub const YAML: &str = "application/yaml";

/// The configuration in force.
#[derive(Serialize, JsonSchema)]
pub struct ConfigReport {
    /// Counts the configurations that came into force; what `If-Match` of a change says.
    revision: u64,
    /// It is not what the file says.
    unsaved: bool,
    /// It becomes what it was, unless it is confirmed in time.
    hold: Option<HoldReport>,
    /// Why what both boxes of a pair have is not changed here.
    elsewhere: Option<String>,
    /// What was typed and is not in force, because it lacks something.
    inactive: Vec<InactiveReport>,
    /// With the keys of the file (docs/configuration.md), without what is left at its default. Below level 15 hashes are
    /// replaced.
    config: Value,
}

/// Who holds the configuration.
#[derive(Serialize, JsonSchema)]
pub struct HoldReport {
    by: String,
    left_seconds: u64,
}

/// An object that lacks something.
#[derive(Serialize, JsonSchema)]
pub struct InactiveReport {
    /// The keys that lead to it.
    path: Vec<String>,
    lacks: String,
}

/// What the operator should know of what was done.
#[derive(Serialize, JsonSchema)]
pub struct Notes {
    notes: Vec<String>,
}

/// A configuration that was saved over.
#[derive(Serialize, JsonSchema)]
pub struct Archived {
    number: u64,
    /// When another one was saved in its place, Unix time.
    until: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object like {\"minutes\": 10}")]
pub struct HoldOrder {
    /// It is taken back after these, unless it is confirmed.
    #[schemars(range(min = 1, max = HOLD_MINUTES_MAX))]
    minutes: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object like {\"archive\": 3}")]
pub struct ReplaceOrder {
    /// Number of one that was saved over; without it, what the file says.
    archive: Option<u64>,
}

pub async fn running(State(app): State<App>, Extension(who): Extension<Who>, uri: Uri) -> Result<Response, Problem> {
    let mut is_yaml = false;
    for (key, value) in Keys::read(&uri, &["format"])? {
        is_yaml = match (key, value.as_str()) {
            (_, "json") => false,
            (_, "yaml") => true,
            (key, value) => return Err(Keys::bad_value(key, value, "json or yaml")),
        };
    }
    let now = app.wait(app.control.running()).await??;
    let tag = tag(now.revision)?;
    let is_all = who.level.is_some_and(|level| level >= ADMIN);
    let response = match is_yaml {
        true => yaml(&now.running.config, is_all),
        false => Json(report(now, is_all)).into_response(),
    };
    Ok(([(header::ETAG, tag)], response).into_response())
}

fn yaml(config: &Config, is_all: bool) -> Response {
    let text = to_yaml(config);
    let text = if is_all { text } else { without_secrets_of(config, text) };
    ([(header::CONTENT_TYPE, HeaderValue::from_static(YAML))], text).into_response()
}

fn report(now: InForce, is_all: bool) -> ConfigReport {
    let mut config = now.running.tree();
    if !is_all {
        without_secrets(&mut config);
    }
    let inactive = now.running.inactive.iter();
    ConfigReport {
        revision: now.revision,
        unsaved: now.unsaved,
        hold: now.hold.map(|hold| HoldReport { by: hold.by.name, left_seconds: hold.left.as_secs() }),
        elsewhere: now.elsewhere,
        inactive: inactive.map(|one| InactiveReport { path: one.path.clone(), lacks: one.lacks.clone() }).collect(),
        config,
    }
}

/// The whole of another configuration, in the place of the one that the client has seen.
pub async fn replace_all(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let revision = if_match(&headers)?;
    let text = body::text(request, &app.limits, &["application/json", YAML], FILE_BYTES_MAX as usize).await?;
    // A large one takes a while, which is not the others'.
    let parsed = tokio::task::spawn_blocking(move || parse(NAME, &text)).await;
    let loaded = parsed.map_err(|error| Problem::internal(error.to_string()))?.map_err(ConfigError::Refused)?;
    let mut report = configure(&app, &who, Running::of(loaded.config), revision).await?;
    report.notes.extend(loaded.warnings.iter().map(|warning| warning.message.clone()));
    Ok(([(header::ETAG, tag(report.revision)?)], Json(report)).into_response())
}

async fn configure(app: &App, who: &Who, running: Running, revision: u64) -> Result<ReloadReport, Problem> {
    let change = Change { running, revision, by: app.access.editor(who) };
    let control = Arc::clone(&app.control);
    Ok(app.operate(async move { control.configure(change).await }).await??)
}

/// RFC 9110, section 13.1.1: a change names what it was made of, so that nobody's is lost.
fn if_match(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        let detail = "say If-Match with the ETag of GET /api/v1/config, so that nobody else's change is lost";
        return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, detail).with("key", "If-Match"));
    };
    let text = value.to_str().unwrap_or_default().trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')?.parse().ok()).ok_or_else(|| {
        let detail = format!("If-Match: {} is no ETag of GET /api/v1/config, such as \"7\"", quoted(text));
        Problem::bad_request(detail).with("key", "If-Match")
    })
}

fn tag(revision: u64) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(format!("\"{revision}\"")).map_err(|error| Problem::internal(error.to_string()))
}

async fn order(app: App, who: Who, order: ConfigOrder) -> Result<Json<Notes>, Problem> {
    let (control, by) = (Arc::clone(&app.control), app.access.editor(&who));
    let notes = app.operate(async move { control.config_order(by, order).await }).await??;
    Ok(Json(Notes { notes }))
}

async fn nothing_more(request: Request, app: &App) -> Result<(), Problem> {
    let Empty {} = body::json(request, &app.limits, Some(Empty {})).await?;
    Ok(())
}

pub async fn save(app: State<App>, who: Extension<Who>, request: Request) -> Result<Json<Notes>, Problem> {
    nothing_more(request, &app).await?;
    order(app.0, who.0, ConfigOrder::Save).await
}

pub async fn confirm(app: State<App>, who: Extension<Who>, request: Request) -> Result<Json<Notes>, Problem> {
    nothing_more(request, &app).await?;
    order(app.0, who.0, ConfigOrder::Confirm).await
}

pub async fn revert(app: State<App>, who: Extension<Who>, request: Request) -> Result<Json<Notes>, Problem> {
    nothing_more(request, &app).await?;
    order(app.0, who.0, ConfigOrder::Revert).await
}

pub async fn hold(app: State<App>, who: Extension<Who>, request: Request) -> Result<Json<Notes>, Problem> {
    let HoldOrder { minutes } = body::json(request, &app.limits, None).await?;
    if !(1..=HOLD_MINUTES_MAX).contains(&minutes) {
        let detail = format!("`minutes` is {minutes}, and goes from 1 to {HOLD_MINUTES_MAX}");
        return Err(Problem::bad_request(detail).with("key", "minutes"));
    }
    order(app.0, who.0, ConfigOrder::Hold(Duration::from_secs(60 * minutes))).await
}

pub async fn replace(app: State<App>, who: Extension<Who>, request: Request) -> Result<Json<Notes>, Problem> {
    let ReplaceOrder { archive } = body::json(request, &app.limits, None).await?;
    let Some(number) = archive else { return order(app.0, who.0, ConfigOrder::Load).await };
    let config = app.wait(app.control.on_disk(Which::Archived(number))).await??;
    let revision = app.wait(app.control.running()).await??.revision;
    let report = configure(&app, &who, Running::of((*config).clone()), revision).await?;
    Ok(Json(Notes { notes: report.notes }))
}

pub async fn archive(State(app): State<App>) -> Result<Json<Vec<Archived>>, Problem> {
    let saved = app.wait(app.control.archive()).await??;
    Ok(Json(saved.iter().map(|one| Archived { number: one.number, until: one.until }).collect()))
}

/// What one configuration says and another one does not.
#[derive(Serialize, JsonSchema)]
pub struct Differences {
    /// In commands, each with + or - before it, below the lines that they belong to.
    lines: Vec<String>,
}

pub async fn differences(State(app): State<App>, uri: Uri) -> Result<Json<Differences>, Problem> {
    let (mut from, mut to) = ("startup".to_owned(), "running".to_owned());
    for (key, value) in Keys::read(&uri, &["from", "to"])? {
        let place = if key == "from" { &mut from } else { &mut to };
        let is_one = ["running", "startup"].contains(&value.as_str()) || value.parse::<u64>().is_ok();
        if !is_one {
            return Err(Keys::bad_value(key, &value, "running, startup, or a number of the archive"));
        }
        *place = value;
    }
    let (from, to) = (commands_of(&app, &from).await?, commands_of(&app, &to).await?);
    Ok(Json(Differences { lines: difference::between(&from, &to) }))
}

async fn commands_of(app: &App, name: &str) -> Result<Vec<String>, Problem> {
    let which = match name.parse() {
        Ok(number) => Which::Archived(number),
        Err(_) if name == "startup" => Which::Startup,
        Err(_) => return Ok(notation::render_running(&app.wait(app.control.running()).await??.running)),
    };
    Ok(notation::render(&*app.wait(app.control.on_disk(which)).await??))
}

pub async fn archived(State(app): State<App>, path: Path<String>) -> Result<Response, Problem> {
    let which = match path.parse() {
        Ok(number) => Which::Archived(number),
        Err(_) if *path == "startup" => Which::Startup,
        Err(_) => {
            let detail = format!("{} is neither startup nor a number of the archive", quoted(&path));
            return Err(Problem::new(StatusCode::NOT_FOUND, detail));
        }
    };
    Ok(yaml(&*app.wait(app.control.on_disk(which)).await??, true))
}
