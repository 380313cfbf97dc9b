//! What all routes have in common: how the daemon is asked, and what is answered where there is no route.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router, middleware};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::access::{Access, Who};
use super::admit::{identify, nobody};
use super::changes::Changes;
use super::guard::guard;
use super::problem::{Problem, quoted};
use super::routes::routes;
use super::{BODY_BYTES_MAX, Limits, body, metrics, openapi, page, query, stream};
use crate::config::suggest::nearest;
use crate::core::control::{self, Control, OperationError, ReloadReport, word::Word};

#[derive(Clone)]
pub struct App {
    pub control: Arc<dyn Control>,
    pub access: Arc<Access>,
    pub changes: Arc<Changes>,
    pub limits: Limits,
    /// One operation at a time, and none that nobody waits for any more behind it.
    operating: Arc<Semaphore>,
}

/// The router of the table, with what stands around all of it.
pub fn router(control: Arc<dyn Control>, access: Arc<Access>, limits: Limits, stopping: watch::Receiver<()>) -> Router {
    let changes = Arc::new(Changes::new(control.clone(), stopping));
    let app = App { control, access, changes, limits, operating: Arc::new(Semaphore::new(1)) };
    let router = routes().iter().fold(Router::new(), |router, route| router.route(route.path, route.handler()));
    router
        .merge(page::routes())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), identify))
        .layer(middleware::from_fn(guard))
        .with_state(app)
}

pub async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let state = app.state().await?;
    let text =
        metrics::text(&state).map_err(|error| Problem::internal(format!("the metrics are malformed: {error}")))?;
    Ok(([(axum::http::header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// That it is alive.
#[derive(Serialize, JsonSchema)]
pub struct Health {
    /// ok.
    status: &'static str,
    /// What this box does in the pair: active or standby.
    role: &'static str,
}

pub async fn health(State(app): State<App>) -> Result<Json<Health>, Problem> {
    let state = app.state().await?;
    Ok(Json(Health { status: "ok", role: state.role.word() }))
}

/// Which program it is.
#[derive(Serialize, JsonSchema)]
pub struct Version {
    version: String,
    hostname: String,
    /// When the daemon started, Unix time.
    started_at: u64,
    uptime_seconds: u64,
}

pub async fn version(State(app): State<App>) -> Result<Json<Version>, Problem> {
    let state = app.state().await?;
    Ok(Json(Version {
        version: state.version.clone(),
        hostname: state.hostname.clone(),
        started_at: state.started_at,
        uptime_seconds: state.uptime_seconds,
    }))
}

pub async fn description() -> Json<Value> {
    Json(openapi::document())
}

pub async fn state(State(app): State<App>) -> Result<Response, Problem> {
    Ok(Json(&*app.state().await?).into_response())
}

pub async fn history(State(app): State<App>) -> Result<Response, Problem> {
    Ok(Json(app.wait(app.control.history()).await??).into_response())
}

pub async fn connections(State(app): State<App>, uri: Uri) -> Result<Response, Problem> {
    let (filter, format) = query::connections(&uri)?;
    let rows = app.wait(app.control.connections(filter)).await??;
    stream::respond(rows, format, app.limits.answer).await
}

pub async fn events(State(app): State<App>, uri: Uri) -> Result<Response, Problem> {
    let filter = query::events(&uri)?;
    Ok(Json(app.wait(app.control.events(filter)).await??).into_response())
}

pub async fn changes(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    app.changes.listen(last, app.limits.answer).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an empty object, {}")]
pub struct ReloadOrder {}

pub async fn reload(State(app): State<App>, request: Request) -> Result<Json<ReloadReport>, Problem> {
    let ReloadOrder {} = body::json(request, &app.limits, Some(ReloadOrder {})).await?;
    let control = Arc::clone(&app.control);
    Ok(Json(app.operate(async move { control.reload().await }).await??))
}

impl App {
    pub async fn state(&self) -> Result<Arc<control::State>, Problem> {
        Ok(self.wait(self.control.state()).await??)
    }

    pub async fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T, Problem> {
        timeout(self.limits.answer, answer).await.map_err(|_| no_answer(self.limits.answer, ""))
    }

    /// Runs an operation to its end, also when the client goes away meanwhile.
    pub async fn operate<T, E>(
        &self,
        operation: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<Result<T, E>, Problem>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let turn = self.wait(Arc::clone(&self.operating).acquire_owned()).await?;
        let task = tokio::spawn(async move {
            let _turn = turn;
            operation.await
        });
        match timeout(self.limits.answer, task).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => {
                tracing::error!(%error, "an operation died");
                Err(OperationError::Failed("the operation died; the log says where".into()).into())
            }
            Err(_) => Err(no_answer(self.limits.answer, "; the order may still take effect")),
        }
    }
}

fn no_answer(patience: Duration, consequence: &str) -> Problem {
    Problem::unavailable(format!("the daemon did not answer within {} s{consequence}", patience.as_secs_f32()))
}

async fn no_such_path(Extension(who): Extension<Who>, uri: Uri) -> Problem {
    if who.level.is_none() {
        return nobody();
    }
    let mut paths: Vec<&str> = routes().iter().map(|route| route.path).collect();
    paths.dedup();
    let path = uri.path();
    let near = (path.len() <= 64).then(|| nearest(path, paths.iter().copied())).flatten();
    let guess = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
    let problem = Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}{guess}", quoted(path)));
    match near {
        Some(near) => problem.with("suggestion", near),
        None => problem.with("see", "/api/v1/openapi.json"),
    }
}

async fn no_such_method(Extension(who): Extension<Who>, method: Method, uri: Uri) -> Problem {
    if who.level.is_none() {
        return nobody();
    }
    let detail =
        format!("{} does not go with {}; the Allow header says what does", quoted(method.as_str()), uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
