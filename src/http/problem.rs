//! Errors as problem documents (RFC 9457): what is wrong, and what would be right.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::config::Refused;
use crate::core::control::{ConfigError, OperationError, ReloadError};

/// `type` is absent, which means `about:blank`: the title is the status's own phrase.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    members: Map<String, Value>,
    header: Option<(HeaderName, &'static str)>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), members: Map::new(), header: None }
    }

    /// Adds a member for programs to read.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// A header that the status wants.
    pub fn with_header(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut document = Map::new();
        document.insert("title".into(), json!(self.status.canonical_reason().unwrap_or("Error")));
        document.insert("status".into(), json!(self.status.as_u16()));
        document.insert("detail".into(), json!(self.detail));
        document.extend(self.members);
        let text = format!("{}\n", Value::Object(document));
        let mut response = (self.status, text).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        let text = error.to_string();
        match error {
            OperationError::NoSuchServer { name, suggestion } => {
                let guess = suggestion.as_ref().map_or(String::new(), |near| format!("; did you mean {near:?}?"));
                let problem = Self::new(StatusCode::NOT_FOUND, text + &guess).with("server", name);
                match suggestion {
                    Some(near) => problem.with("suggestion", near),
                    None => problem,
                }
            }
            OperationError::NoSuchPool { name, suggestion } => {
                let guess = suggestion.as_ref().map_or(String::new(), |near| format!("; did you mean {near:?}?"));
                let problem = Self::new(StatusCode::NOT_FOUND, text + &guess).with("pool", name);
                match suggestion {
                    Some(near) => problem.with("suggestion", near),
                    None => problem,
                }
            }
            OperationError::NotAMember { server, pool, members } => Self::new(StatusCode::NOT_FOUND, text)
                .with("server", server)
                .with("pool", pool)
                .with("expected", members),
            OperationError::LastMember { server, services } => {
                Self::new(StatusCode::CONFLICT, text).with("server", server).with("services", services)
            }
            OperationError::BelowMinimum { server, pools } => {
                let names: Vec<String> = pools.iter().map(|shortage| shortage.pool.to_string()).collect();
                Self::new(StatusCode::CONFLICT, text).with("server", server).with("pools", names)
            }
            OperationError::NotDrained { server, state, connections } => Self::new(StatusCode::CONFLICT, text)
                .with("server", server)
                .with("state", state.to_string())
                .with("connections", connections),
            OperationError::NotRemoved { server, .. } => Self::new(StatusCode::CONFLICT, text).with("server", server),
            OperationError::NoPair | OperationError::NotThere(_) => Self::new(StatusCode::NOT_FOUND, text),
            OperationError::NoHandOver(_) | OperationError::NoConfigChoice(_) => Self::new(StatusCode::CONFLICT, text),
            OperationError::Unavailable(_) => Self::unavailable(text),
            OperationError::Failed(_) => Self::internal(text),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let diagnostics = serde_json::to_value(&refused.diagnostics).unwrap_or_default();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, refused.to_string())
            .with("file", refused.file)
            .with("diagnostics", diagnostics)
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        let text = error.to_string();
        match error {
            // What `If-Match` said is not so any more (RFC 9110, section 13.1.1).
            ConfigError::Changed(revision) => {
                Self::new(StatusCode::PRECONDITION_FAILED, text).with("revision", revision)
            }
            ConfigError::Held(hold) => {
                Self::new(StatusCode::CONFLICT, text).with("by", hold.by.name).with("left_seconds", hold.left.as_secs())
            }
            ConfigError::NotHeld | ConfigError::NotConfirmed => Self::new(StatusCode::CONFLICT, text),
            ConfigError::NotArchived(number) => Self::new(StatusCode::NOT_FOUND, text).with("archive", number),
            ConfigError::Refused(refused) => refused.into(),
            ConfigError::Operation(error) => error.into(),
        }
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Refused(refused) => refused.into(),
            ReloadError::Operation(error) => error.into(),
        }
    }
}

/// A text of the client's, for quoting: short, whatever it sent.
pub fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    if text.chars().count() <= CHARS_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(CHARS_MAX).collect();
    format!("{start:?}…")
}
