//! A new token.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Who;
use super::api::App;
use super::body;
use super::problem::Problem;
use crate::access::ADMIN;
use crate::access::issue::{IssueError, Wanted, issue};
use crate::config::{Date, Name, Token};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object like {\"level\": 1}")]
pub struct TokenOrder {
    /// 0 reads the metrics, 1 looks (the default), 7 orders about servers and the pair, 15 does everything.
    #[schemars(range(max = ADMIN))]
    level: Option<u8>,
    /// The last day on which it is good, in UTC.
    #[schemars(extend("format" = "date"))]
    expires: Option<String>,
}

/// A token, told this once.
#[derive(Serialize, JsonSchema)]
pub struct TokenReport {
    name: String,
    level: u8,
    token: String,
}

pub async fn generate(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    path: Path<String>,
    request: Request,
) -> Result<Json<TokenReport>, Problem> {
    let TokenOrder { level, expires } = body::json(request, &app.limits, Some(TokenOrder::default())).await?;
    let name = Name::new(&path).map_err(|wrong| Problem::bad_request(wrong).with("key", "name"))?;
    let level = level.unwrap_or(Token::LEVEL_DEFAULT);
    if level > ADMIN {
        return Err(Problem::bad_request(format!("`level` is {level}, and goes to {ADMIN}")).with("key", "level"));
    }
    let wrong = |wrong| Problem::bad_request(format!("`expires`: {wrong}; such as 2027-01-31")).with("key", "expires");
    let expires = expires.as_deref().map(Date::new).transpose().map_err(wrong)?;
    let (control, by) = (app.control.clone(), app.access.editor(&who));
    let wanted = Wanted { name, level, expires };
    let name = wanted.name.to_string();
    let made = app.operate(async move { issue(&*control, by, &wanted).await }).await?;
    let token = made.map_err(|error| match error {
        IssueError::Taken(_) => Problem::new(StatusCode::CONFLICT, error.to_string()),
        IssueError::Random(_) => Problem::internal(error.to_string()),
        IssueError::Config(error) => error.into(),
        IssueError::Operation(error) => error.into(),
    })?;
    Ok(Json(TokenReport { name, level, token: token.to_string() }))
}
