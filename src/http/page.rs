//! The status page: three files of our own, built into the program. It loads nothing from elsewhere, and a browser that
//! shows it is told to run nothing else.

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// CSP Level 3: scripts, styles and requests of this origin alone; nothing inline, no plug-ins, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Where the page is, with its parts.
pub const PATHS: [&str; 3] = ["/", "/page/page.css", "/page/page.js"];

/// Routes that need nothing of the daemon.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let [page, style, script] = PATHS;
    Router::new()
        .route(page, get(async || file("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route(style, get(async || file("text/css; charset=utf-8", include_str!("page/page.css"))))
        .route(script, get(async || file("text/javascript; charset=utf-8", include_str!("page/page.js"))))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "no-referrer")];
    (headers, text).into_response()
}
