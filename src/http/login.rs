//! Logins of browsers: by the users of the command line.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::sleep_until;
use zeroize::Zeroizing;

use super::access::{By, Came, Who, unauthorized};
use super::api::App;
use super::body;
use super::credentials::{self, COOKIE, COOKIE_OVER_TLS, Credentials};
use super::problem::Problem;
use super::sessions::IDLE_MAX;
use crate::access::{ADMIN, VIEWER, lock};
use crate::config::Name;
use crate::core::control::Door;
use crate::core::events::What;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object like {\"user\": \"admin\", \"password\": \"…\"}")]
pub struct Login {
    user: String,
    password: String,
}

/// Who asks.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionReport {
    /// A user who has logged in.
    user: Option<String>,
    /// A token by name.
    token: Option<String>,
    /// What may be done: 0 reads the metrics, 1 looks, 7 orders about servers and the pair, 15 does everything; none:
    /// what everybody may.
    level: Option<u8>,
    /// Header X-CSRF-Token of what changes something; of a session.
    csrf: Option<String>,
    /// After so long without a request a session ends.
    idle_seconds: Option<u64>,
}

pub async fn who(Extension(who): Extension<Who>) -> Json<SessionReport> {
    Json(report(&who))
}

fn report(who: &Who) -> SessionReport {
    let session = match &who.by {
        By::Session(session) => Some(session),
        _ => None,
    };
    SessionReport {
        user: session.map(|session| session.user.clone()),
        token: if let By::Token(name) = &who.by { Some(name.to_string()) } else { None },
        level: who.level,
        csrf: session.map(|session| session.csrf.clone()),
        idle_seconds: session.map(|_| IDLE_MAX.as_secs()),
    }
}

pub async fn log_in(
    State(app): State<App>,
    Extension(came): Extension<Came>,
    request: Request,
) -> Result<Response, Problem> {
    let begun = tokio::time::Instant::now();
    let Login { user, password } = body::json(request, &app.limits, None).await?;
    let password = Zeroizing::new(password);
    let from = came.peer.ip().to_canonical();
    let access = &app.access;
    access.check_passwords(from)?;
    // Others' passwords may be before it.
    let granted = app.wait(access.auth.password(&user, &password)).await?;
    let users = &access.settings().await.users;
    let entry = Name::new(&user).ok().and_then(|name| users.get(&name));
    let (Some(granted), Some(entry)) = (granted, entry) else {
        // A name that there is not may be a password.
        let of = if access.auth.knows(&user).await { user.as_str() } else { "a user that there is not" };
        access.failed_password(from, of);
        app.control.logins().refused(Door::Http);
        // So that guessing takes its time.
        sleep_until(begun + access.denied_after).await;
        return Err(unauthorized("user and password do not belong together"));
    };
    let opened = lock(&access.sessions).open(&user, entry, Instant::now());
    let (cookie, session) = opened.map_err(Problem::internal)?;
    app.control.logins().accepted(Door::Http);
    app.control.happened(What::LoggedIn {
        user: user.clone(),
        from: from.to_string(),
        how: "a password over HTTP".to_owned(),
        level: granted.level,
    });
    let level = if granted.level >= ADMIN { ADMIN } else { VIEWER };
    let who = Who { by: By::Session(Box::new(session)), level: Some(level), from };
    Ok((set_cookie(&cookie, !came.local, "")?, Json(report(&who))).into_response())
}

pub async fn log_out(
    State(app): State<App>,
    Extension(came): Extension<Came>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (By::Session(session), Credentials::Session(cookie)) = (&who.by, credentials::read(&headers, !came.local))
    else {
        return Err(Problem::new(StatusCode::CONFLICT, "there is no session to be ended: nobody has logged in"));
    };
    lock(&app.access.sessions).end(cookie);
    app.control.happened(What::LoggedOut { user: session.user.clone(), from: who.from.to_string() });
    Ok((StatusCode::NO_CONTENT, set_cookie("", !came.local, "; Max-Age=0")?).into_response())
}

/// RFC 6265bis: for no script, for requests of our own pages only, and over TLS for nobody else's ears.
fn set_cookie(value: &str, over_tls: bool, more: &str) -> Result<HeaderMap, Problem> {
    let (name, secure) = if over_tls { (COOKIE_OVER_TLS, "; Secure") } else { (COOKIE, "") };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}");
    let value = HeaderValue::try_from(text).map_err(|_| Problem::internal("the cookie cannot be written"))?;
    Ok(HeaderMap::from_iter([(header::SET_COOKIE, value)]))
}
