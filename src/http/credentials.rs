//! What a request says of who asks, before anybody has believed it. No I/O: whatever comes, it is an answer.

use axum::http::{HeaderMap, HeaderName, Method, header};

use crate::access::token::TOKEN_BYTES_MAX;

/// What a session's cookie is called. Over TLS with a prefix, by which browsers take it from nobody but us and send it to
/// nobody but us (RFC 6265bis, section 4.1.3.2).
pub const COOKIE: &str = "lbd-session";
pub const COOKIE_OVER_TLS: &str = "__Host-lbd-session";
/// What a session's requests carry that change something.
pub const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials<'a> {
    None,
    Token(&'a str),
    /// A browser's cookie.
    Session(&'a str),
    /// In words that say what it should be.
    Malformed(&'static str),
}

/// A token counts before a cookie.
pub fn read(headers: &HeaderMap, over_tls: bool) -> Credentials<'_> {
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    match (authorizations.next(), authorizations.next()) {
        (None, _) => cookie(headers, over_tls).map_or(Credentials::None, Credentials::Session),
        (Some(_), Some(_)) => Credentials::Malformed("there is more than one Authorization header"),
        (Some(value), None) => match value.to_str().ok().and_then(bearer) {
            Some(token) => Credentials::Token(token),
            None => Credentials::Malformed("the Authorization header is not of the form `Bearer TOKEN`"),
        },
    }
}

/// RFC 6750, section 2.1.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let is_token = !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.bytes().all(|b| b.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}

fn cookie(headers: &HeaderMap, over_tls: bool) -> Option<&str> {
    let wanted = if over_tls { COOKIE_OVER_TLS } else { COOKIE };
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut found = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == wanted && value.len() <= TOKEN_BYTES_MAX).then_some(value)
    });
    found.next()
}

/// Whether a method changes nothing (RFC 9110, section 9.2.1).
pub fn is_safe(method: &Method) -> bool {
    method.is_safe()
}

/// Whether a browser says that a page of ours asks. One that says nothing is none, or an old one: for those there are the
/// other means.
pub fn is_same_origin(headers: &HeaderMap, over_tls: bool) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(origin) = text(header::ORIGIN) else { return true };
    let scheme = if over_tls { "https" } else { "http" };
    let host = text(header::HOST).unwrap_or_default();
    origin.split_once("://").is_some_and(|(own, from)| own == scheme && from.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name.clone(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_token_is_read_and_what_is_none_says_so() {
        let of = |text: &str| match read(&headers(&[(header::AUTHORIZATION, text)]), false) {
            Credentials::Token(token) => Some(token.to_owned()),
            _ => None,
        };
        assert_eq!(of("Bearer lbd_x").as_deref(), Some("lbd_x"));
        assert_eq!(of("bEARER  lbd_x ").as_deref(), Some("lbd_x"));
        for bad in
            ["", "Bearer", "Bearer ", "Basic lbd_x", "Bearer a b", "lbd_x", &format!("Bearer {}", "x".repeat(129))]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
        let twice = headers(&[(header::AUTHORIZATION, "Bearer a"), (header::AUTHORIZATION, "Bearer b")]);
        assert!(matches!(read(&twice, false), Credentials::Malformed(_)));
    }

    #[test]
    fn a_cookie_is_found_among_others_and_by_its_own_name_alone() {
        let map = headers(&[(header::COOKIE, "a=b; lbd-session=one"), (header::COOKIE, "__Host-lbd-session=two;x")]);
        assert_eq!(read(&map, false), Credentials::Session("one"));
        assert_eq!(read(&map, true), Credentials::Session("two"));
        assert_eq!(read(&headers(&[(header::COOKIE, "xlbd-session=one")]), false), Credentials::None);
    }

    #[test]
    fn another_origin_is_another_one() {
        let from = |origin: &str, tls| {
            is_same_origin(&headers(&[(header::ORIGIN, origin), (header::HOST, "lb1.example:8443")]), tls)
        };
        assert!(from("https://lb1.example:8443", true) && from("http://LB1.example:8443", false));
        for bad in ["null", "", "https://lb1.example", "https://evil.example", "https://lb1.example:8443.evil"] {
            assert!(!from(bad, true), "{bad}");
        }
        assert!(!from("http://lb1.example:8443", true), "another scheme");
        assert!(is_same_origin(&HeaderMap::new(), true));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_an_answer_and_what_is_found_is_short(
            lines in proptest::collection::vec((0_usize..4, proptest::collection::vec(any::<u8>(), 0..300)), 0..5),
            over_tls: bool,
        ) {
            let names = [header::AUTHORIZATION, header::COOKIE, header::ORIGIN, header::HOST];
            let mut map = HeaderMap::new();
            for (name, value) in &lines {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    map.append(names[*name].clone(), value);
                }
            }
            if let Credentials::Token(text) | Credentials::Session(text) = read(&map, over_tls) {
                prop_assert!(text.len() <= TOKEN_BYTES_MAX);
            }
            let _ = is_same_origin(&map, over_tls);
        }
    }
}
