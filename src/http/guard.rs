//! What keeps web pages out of the loopback listener, where being on this machine may be all the authentication there is.
//! Outside loopback whoever asks must say who he is, by what no page of somebody else's has.
//!
//! A browser on this machine runs pages from anywhere. Such a page can reach a loopback port in two ways.
//! - By its own name, which it lets resolve to 127.0.0.1 (DNS rebinding): then `Host` is that name, and
//!   the request is refused here.
//! - Across origins: a browser lets it send only forms unasked, and `body` takes nothing but
//!   `application/json`; for that it asks first (CORS preflight) and gets no permission.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::Came;
use super::problem::{Problem, quoted};

/// Middleware around everything.
pub async fn guard(request: Request, next: Next) -> Response {
    let mut response = match check_host(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// One `Host`, and on loopback one that names this machine; likewise what a proxy-style request line names.
fn check_host(request: &Request) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Problem::bad_request("a request needs exactly one Host header").with("key", "Host"));
    };
    if request.extensions().get::<Came>().is_some_and(|came| !came.local) {
        return Ok(());
    }
    let line = request.uri().authority().map(Authority::as_str);
    match [host.to_str().ok(), line.or(Some("localhost"))].into_iter().all(|name| name.is_some_and(is_loopback)) {
        true => Ok(()),
        false => {
            let found = line.map_or_else(|| String::from_utf8_lossy(host.as_bytes()), Into::into);
            let detail = format!(
                "the request is for {}; this listener answers to localhost, 127.0.0.1 and [::1] only, \
                 so that no web page can speak to it under a name of its own",
                quoted(&found)
            );
            Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).with("key", "Host"))
        }
    }
}

/// `localhost` or a loopback address, with a port or without; any port, because `ssh -L` changes it.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_names_and_addresses_of_this_machine_pass() {
        for good in ["localhost", "LocalHost:8080", "127.0.0.1", "127.1.2.3:9", "[::1]", "[::1]:8080", "localhost:"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "127.1",
            "2130706433",
            "evil@localhost",
            "localhost@evil.example",
            "local host",
            "localhost/",
            "[::1",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_host_whatever_it_is_makes_the_check_panic(host in "\\PC*") {
            let _ = is_loopback(&host);
        }
    }
}
