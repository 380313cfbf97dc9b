//! The body of an order: JSON, small, in time.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use super::problem::{Problem, quoted};
use super::{BODY_BYTES_MAX, Limits};

/// Reads a request's body. `empty` stands for one of no bytes, where that is allowed.
pub async fn json<T: DeserializeOwned>(request: Request, limits: &Limits, empty: Option<T>) -> Result<T, Problem> {
    check_type(&request)?;
    let bytes = read(request, limits).await?;
    match empty {
        Some(value) if bytes.is_empty() => Ok(value),
        _ => serde_json::from_slice(&bytes).map_err(malformed),
    }
}

/// Demanded even of an empty body: it is what a form of a foreign web page cannot say.
fn check_type(request: &Request) -> Result<(), Problem> {
    let found = request.headers().get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = found.as_deref().and_then(|value| value.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let found = found.map_or("no Content-Type".to_owned(), |found| format!("Content-Type {}", quoted(&found)));
    let detail = format!("the request has {found}; say Content-Type: application/json");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).with("key", "Content-Type"))
}

async fn read(request: Request, limits: &Limits) -> Result<Bytes, Problem> {
    // Before the first byte is read, so that a client that waits for "100 Continue" sends none.
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(limits.request, Bytes::from_request(request, &())).await {
        Err(_) => {
            let detail = format!("the body did not come within {} s", limits.request.as_secs_f32());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
        Ok(Err(rejection)) => {
            tracing::debug!(status = %rejection.into_response().status(), "a request's body broke off");
            Err(Problem::bad_request("the body broke off or is not framed as HTTP demands"))
        }
    }
}

fn too_large() -> Problem {
    let detail = format!("the body is too large; it may have {BODY_BYTES_MAX} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).with("bytes_max", BODY_BYTES_MAX)
}

fn malformed(error: serde_json::Error) -> Problem {
    let what = if error.is_data() { "the body is not what is expected here" } else { "the body is not JSON" };
    Problem::bad_request(format!("{what}: {error}")).with("line", error.line()).with("column", error.column())
}
