//! The routes: each asks `Control` and puts its answer into words.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::guard::guard;
use super::problem::{Problem, quoted};
use super::{BODY_BYTES_MAX, Limits, body, metrics, orders, page, query, stream};
use crate::config::suggest::nearest;
use crate::core::control::{self, Control, OperationError, ReloadReport, word::Word};

#[derive(Clone)]
pub struct App {
    pub control: Arc<dyn Control>,
    pub limits: Limits,
    /// One operation at a time, and none that nobody waits for any more behind it.
    operating: Arc<Semaphore>,
}

const ROUTES: [&str; 18] = [
    "/metrics",
    "/healthz",
    "/api/v1/state",
    "/api/v1/history",
    "/api/v1/connections",
    "/api/v1/config/reload",
    "/api/v1/servers/{server}/admin",
    "/api/v1/servers/{server}",
    "/api/v1/servers/{server}/enable",
    "/api/v1/servers/{server}/drain",
    "/api/v1/servers/{server}/disable",
    "/api/v1/pools/{pool}/members/{server}",
    "/api/v1/pools/{pool}/members/{server}/enable",
    "/api/v1/pools/{pool}/members/{server}/drain",
    "/api/v1/pools/{pool}/members/{server}/disable",
    "/api/v1/pair/handover",
    "/api/v1/pair/maintenance",
    "/api/v1/pair/config",
];

pub fn router(control: Arc<dyn Control>, limits: Limits) -> Router {
    let [
        metrics_path,
        health_path,
        state_path,
        history_path,
        connections_path,
        reload_path,
        admin_path,
        subjects @ ..,
        handover_path,
        maintenance_path,
        pair_config_path,
    ] = ROUTES;
    let mut router = Router::new()
        .route(metrics_path, get(metrics))
        .route(health_path, get(health))
        .route(state_path, get(state))
        .route(history_path, get(history))
        .route(connections_path, get(connections))
        .route(reload_path, post(reload))
        .route(admin_path, put(orders::admin))
        .route(handover_path, post(orders::hand_over))
        .route(maintenance_path, put(orders::maintenance))
        .route(pair_config_path, post(orders::choose_config));
    let [server @ .., _, _, _, _] = subjects;
    let [_, _, _, _, member @ ..] = subjects;
    for [itself, enable, drain, disable] in [server, member] {
        router = router
            .route(itself, delete(orders::remove))
            .route(enable, post(orders::enable))
            .route(drain, post(orders::drain))
            .route(disable, post(orders::disable));
    }
    router
        .merge(page::routes())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(guard))
        .with_state(App { control, limits, operating: Arc::new(Semaphore::new(1)) })
}

async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let state = app.state().await?;
    let text =
        metrics::text(&state).map_err(|error| Problem::internal(format!("the metrics are malformed: {error}")))?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

async fn health(State(app): State<App>) -> Result<Response, Problem> {
    let state = app.state().await?;
    Ok(json(json!({ "status": "ok", "role": state.role.word() })))
}

async fn state(State(app): State<App>) -> Result<Response, Problem> {
    Ok(Json(&*app.state().await?).into_response())
}

async fn history(State(app): State<App>) -> Result<Response, Problem> {
    Ok(Json(app.wait(app.control.history()).await??).into_response())
}

async fn connections(State(app): State<App>, uri: Uri) -> Result<Response, Problem> {
    let (filter, format) = query::connections(&uri)?;
    let rows = app.wait(app.control.connections(filter)).await??;
    stream::respond(rows, format, app.limits.answer).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an empty object, {}")]
struct ReloadOrder {}

async fn reload(State(app): State<App>, request: Request) -> Result<Json<ReloadReport>, Problem> {
    let ReloadOrder {} = body::json(request, &app.limits, Some(ReloadOrder {})).await?;
    let control = Arc::clone(&app.control);
    Ok(Json(app.operate(async move { control.reload().await }).await??))
}

impl App {
    async fn state(&self) -> Result<Arc<control::State>, Problem> {
        Ok(self.wait(self.control.state()).await??)
    }

    async fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T, Problem> {
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

fn json(value: serde_json::Value) -> Response {
    Json(value).into_response()
}

async fn no_such_path(uri: Uri) -> Problem {
    let path = uri.path();
    let near = (path.len() <= 64).then(|| nearest(path, ROUTES)).flatten();
    let guess = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
    let problem = Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}{guess}", quoted(path)));
    match near {
        Some(near) => problem.with("suggestion", near),
        None => problem.with("expected", ROUTES.to_vec()),
    }
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail =
        format!("{} does not go with {}; the Allow header says what does", quoted(method.as_str()), uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
