//! Two questions before a route: who asks, and whether he may. What was changed is written down with who did it.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use tracing::info;

use super::access::{By, Came, Who, unauthorized};
use super::api::App;
use super::credentials::{CSRF, is_safe, is_same_origin};
use super::problem::Problem;

/// What machines ask to see whether there is anybody.
const HEALTH: &str = "/healthz";
/// Bytes of a path that are written down.
const PATH_BYTES_MAX: usize = 200;

/// Middleware around everything: says to all behind it who asks.
pub async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let Some(came) = request.extensions().get::<Came>().copied() else {
        return Problem::internal("the request came by no listener").into_response();
    };
    match app.access.who(came, request.headers()).await {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        // A question that everybody may ask is answered, whatever he says of himself.
        Err(_) if request.uri().path() == HEALTH => {
            request.extensions_mut().insert(Who { by: By::Nobody, level: None, from: came.peer.ip() });
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Middleware of a route that wants a level; `None`: none.
pub async fn admit(level: Option<u8>, request: Request, next: Next) -> Response {
    let (who, came) = (request.extensions().get::<Who>().cloned(), request.extensions().get::<Came>().copied());
    let (Some(who), Some(came)) = (who, came) else {
        return Problem::internal("nobody knows who asks").into_response();
    };
    let may = may(level, &who).and_then(|()| is_meant(level, &who, came, request.method(), request.headers()));
    if let Err(problem) = may {
        return problem.into_response();
    }
    if is_safe(request.method()) {
        return next.run(request).await;
    }
    let mut path = request.uri().path().to_owned();
    // The path of a request is ASCII.
    path.truncate(PATH_BYTES_MAX);
    let asked = format!("{} {path}", request.method());
    let response = next.run(request).await;
    info!("http: {who}: {asked}: {}", response.status().as_u16());
    response
}

fn may(level: Option<u8>, who: &Who) -> Result<(), Problem> {
    match (level, who.level) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(nobody()),
        (Some(needed), Some(has)) if has < needed => {
            let detail = format!("this wants level {needed}, and {who} has level {has}");
            Err(Problem::new(StatusCode::FORBIDDEN, detail).with("needed", needed).with("level", has))
        }
        _ => Ok(()),
    }
}

/// What is answered where there is nothing for everybody.
pub fn nobody() -> Problem {
    unauthorized("say who you are: by `Authorization: Bearer TOKEN`, or by a login")
}

/// Whether a request that changes something is meant by who sends it, and not by a page of somebody else's that his
/// browser shows. A token is not sent by itself, so that it shows that it is.
fn is_meant(level: Option<u8>, who: &Who, came: Came, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if is_safe(method) || matches!(who.by, By::Token(_)) {
        return Ok(());
    }
    let foreign = |why: &str| Err(Problem::new(StatusCode::FORBIDDEN, why));
    if !is_same_origin(headers, !came.local) {
        return foreign("the Origin header names another site than the one that is asked");
    }
    match &who.by {
        By::Session(session) if level.is_some() => {
            let sent = headers.get(CSRF).map(|value| value.as_bytes()).unwrap_or_default();
            match bool::from(sent.ct_eq(session.csrf.as_bytes())) {
                true => Ok(()),
                false => foreign("the X-CSRF-Token header is not the one of the session; GET /api/v1/session tells it"),
            }
        }
        _ => Ok(()),
    }
}
