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
    check_type(&request, &["application/json"])?;
    let bytes = read(request, limits, BODY_BYTES_MAX).await?;
    // serde would take the values of an object in the order in which they are declared.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::bad_request("the body is not what is expected here: it is a list, and no object"));
    }
    match empty {
        Some(value) if bytes.is_empty() => Ok(value),
        _ => serde_json::from_slice(&bytes).map_err(malformed),
    }
}

/// Reads a text of one of these types, of at most so many bytes; its route lets through as many.
pub async fn text(request: Request, limits: &Limits, types: &[&str], bytes_max: usize) -> Result<String, Problem> {
    check_type(&request, types)?;
    let bytes = read(request, limits, bytes_max).await?;
    String::from_utf8(bytes.into()).map_err(|_| Problem::bad_request("the body is not UTF-8"))
}

/// Demanded even of an empty body: it is what a form of a foreign web page cannot say.
fn check_type(request: &Request, types: &[&str]) -> Result<(), Problem> {
    let found = request.headers().get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = found.as_deref().and_then(|value| value.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| types.iter().any(|known| essence.eq_ignore_ascii_case(known))) {
        return Ok(());
    }
    let found = found.map_or("no Content-Type".to_owned(), |found| format!("Content-Type {}", quoted(&found)));
    let detail = format!("the request has {found}; say Content-Type: {}", types.join(" or "));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).with("key", "Content-Type"))
}

async fn read(request: Request, limits: &Limits, bytes_max: usize) -> Result<Bytes, Problem> {
    // Before the first byte is read, so that a client that waits for "100 Continue" sends none.
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    match tokio::time::timeout(limits.request, Bytes::from_request(request, &())).await {
        Err(_) => {
            let detail = format!("the body did not come within {} s", limits.request.as_secs_f32());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large(bytes_max)),
        Ok(Err(rejection)) => {
            tracing::debug!(status = %rejection.into_response().status(), "a request's body broke off");
            Err(Problem::bad_request("the body broke off or is not framed as HTTP demands"))
        }
    }
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("the body is too large; it may have {bytes_max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).with("bytes_max", bytes_max)
}

fn malformed(error: serde_json::Error) -> Problem {
    let what = if error.is_data() { "the body is not what is expected here" } else { "the body is not JSON" };
    Problem::bad_request(format!("{what}: {error}")).with("line", error.line()).with("column", error.column())
}
