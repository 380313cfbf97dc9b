//! Who may ask: tokens, logins, networks, TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lbd::access::{secrets, token};
use lbd::config::{Date, Http, HttpTls, Name, Prefix, Token, User};
use lbd::http::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use crate::support::client::{Answer, parse, raw};
use crate::support::{Fake, Server, start_at};

const DRAIN: &str = "/api/v1/servers/pc2/drain";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn network(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
}

fn quick() -> Limits {
    Limits { denied_after: Duration::from_millis(200), ..Limits::default() }
}

/// Tokens of each level, each called after it.
fn tokens() -> (BTreeMap<Name, Token>, BTreeMap<u8, String>) {
    let mut texts = BTreeMap::new();
    let mut entries = BTreeMap::new();
    for level in [0, 1, 7, 15] {
        let (text, hash) = token::new().unwrap();
        texts.insert(level, text.to_string());
        entries.insert(name(&format!("t{level}")), Token { hash, level, expires: None, from: Vec::new() });
    }
    (entries, texts)
}

fn local() -> Http {
    Http { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Http::default() }
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn with(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    raw(address, request(method, path, headers, body)).await
}

fn bearer(text: &str) -> String {
    format!("Authorization: Bearer {text}\r\n")
}

#[tokio::test]
async fn where_a_token_is_required_each_level_may_what_it_may_and_no_more() {
    let (entries, texts) = tokens();
    let http = Http { require_token: true, tokens: entries, ..local() };
    let server = start_at(Fake::default(), quick(), http).await;
    let asked =
        [("GET", "/metrics", 0), ("GET", "/api/v1/state", 1), ("POST", DRAIN, 7), ("PUT", "/api/v1/config", 15)];
    for (method, path, needed) in asked {
        let answer = with(server.address, method, path, "", "").await;
        assert_eq!(
            (answer.status, answer.headers["www-authenticate"].as_str()),
            (401, "Bearer realm=\"lbd\""),
            "{path}"
        );
        for (level, text) in &texts {
            let answer = with(server.address, method, path, &bearer(text), "").await;
            if *level < needed {
                let problem = answer.problem();
                assert_eq!((answer.status, &problem["needed"]), (403, &json!(needed)), "{level} {path}: {problem}");
            } else {
                assert!(![401, 403, 404].contains(&answer.status), "{level} {path}: {answer:?}");
            }
        }
    }
    assert_eq!(with(server.address, "GET", "/healthz", "", "").await.status, 200);
    // Who may not ask anything is not told what there is.
    assert_eq!(with(server.address, "GET", "/nowhere", "", "").await.status, 401);
    assert_eq!(with(server.address, "BREW", "/metrics", "", "").await.status, 401);
}

#[tokio::test]
async fn on_loopback_who_says_nothing_may_order_and_not_configure() {
    let server = start_at(Fake::default(), quick(), local()).await;
    assert_eq!(with(server.address, "GET", "/metrics", "", "").await.status, 200);
    assert_eq!(with(server.address, "POST", DRAIN, "", "").await.status, 200);
    let answer = with(server.address, "PUT", "/api/v1/config", "", "{}").await;
    assert_eq!((answer.status, &answer.problem()["needed"]), (403, &json!(15)));
    // Whoever says something wrong of himself is not taken for nobody.
    assert_eq!(with(server.address, "GET", "/metrics", &bearer("lbd_wrong"), "").await.status, 401);
    assert_eq!(with(server.address, "GET", "/metrics", "Authorization: Basic YTpi\r\n", "").await.status, 401);
}

#[tokio::test]
async fn a_token_that_has_ended_or_is_not_good_from_here_is_none() {
    let (mut entries, texts) = tokens();
    entries.get_mut(&name("t1")).unwrap().expires = Some(Date::new("2020-02-29").unwrap());
    entries.get_mut(&name("t7")).unwrap().from = vec![network("192.0.2.0/24")];
    entries.get_mut(&name("t15")).unwrap().from = vec![network("127.0.0.0/8")];
    let server = start_at(Fake::default(), quick(), Http { tokens: entries, ..local() }).await;
    for (level, status, word) in [(1, 401, "2020-02-29"), (7, 401, "not good from 127.0.0.1"), (15, 200, "")] {
        let answer = with(server.address, "GET", "/api/v1/state", &bearer(&texts[&level]), "").await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.text().contains(word), "{answer:?}");
    }
}

#[tokio::test]
async fn whoever_tries_tokens_is_blocked_and_a_configuration_that_changes_acts_at_once() {
    let (entries, texts) = tokens();
    let server = start_at(Fake::default(), quick(), Http { tokens: entries, ..local() }).await;
    let good = bearer(&texts[&1]);
    assert_eq!(with(server.address, "GET", "/api/v1/state", &good, "").await.status, 200);
    server.fake.configuration.lock().unwrap().running.config.http.tokens.remove(&name("t1"));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(with(server.address, "GET", "/api/v1/state", &good, "").await.status, 401);
    for _ in 0..9 {
        assert_eq!(with(server.address, "GET", "/api/v1/state", &bearer("lbd_guess"), "").await.status, 401);
    }
    let answer = with(server.address, "GET", "/api/v1/state", &bearer("lbd_guess"), "").await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (429, "300"));
    let answer = with(server.address, "GET", "/healthz", &bearer("lbd_guess"), "").await;
    assert_eq!(answer.status, 200);
    // Or anybody on this box could keep its monitoring out.
    let answer = with(server.address, "GET", "/api/v1/state", &bearer(&texts[&15]), "").await;
    assert_eq!(answer.status, 200, "who has a good one is not blocked by others who try");
    assert_eq!(
        with(server.address, "GET", "/api/v1/state", "", "").await.status,
        200,
        "who tries nothing is not blocked"
    );
}

async fn with_users() -> Server {
    let fake = Fake::default();
    {
        let config = &mut fake.configuration.lock().unwrap().running.config;
        let user = |password, level| User { level, secret: Some(secrets::hash(password).unwrap()), ..User::default() };
        config.users = BTreeMap::from([(name("admin"), user("swordfish", 15)), (name("eve"), user("herring", 7))]);
    }
    start_at(fake, quick(), Http { require_token: true, ..local() }).await
}

async fn log_in(address: SocketAddr, user: &str, password: &str) -> (Answer, String, Value) {
    let body = json!({ "user": user, "password": password }).to_string();
    let answer = with(address, "POST", "/api/v1/login", "", &body).await;
    let cookie = answer.headers.get("set-cookie").cloned().unwrap_or_default();
    let report = serde_json::from_slice(&answer.body).unwrap();
    (answer, cookie, report)
}

#[tokio::test]
async fn a_browser_logs_in_orders_by_its_own_page_alone_and_logs_out() {
    let server = with_users().await;
    let (answer, cookie, report) = log_in(server.address, "admin", "swordfish").await;
    assert_eq!((answer.status, &report["user"], &report["level"]), (200, &json!("admin"), &json!(15)));
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: other=1; {}\r\n", cookie.split(';').next().unwrap());
    let csrf = format!("X-CSRF-Token: {}\r\n", report["csrf"].as_str().unwrap());
    let who = with(server.address, "GET", "/api/v1/session", &cookie, "").await.json();
    assert_eq!(who, report);
    assert_eq!(with(server.address, "GET", "/api/v1/state", &cookie, "").await.status, 200);
    let origin = "Origin: http://localhost\r\n";
    let evil = "Origin: http://evil.example\r\n";
    for (headers, status) in [
        (cookie.clone(), 403),
        (format!("{cookie}X-CSRF-Token: wrong\r\n"), 403),
        (format!("{cookie}{csrf}{evil}"), 403),
        (format!("{cookie}{csrf}Origin: null\r\n"), 403),
        (csrf.clone(), 401),
        (format!("{cookie}{csrf}"), 200),
        (format!("{cookie}{csrf}{origin}"), 200),
    ] {
        let answer = with(server.address, "POST", DRAIN, &headers, "").await;
        assert_eq!(answer.status, status, "{headers}: {answer:?}");
    }
    let answer = with(server.address, "POST", "/api/v1/logout", &format!("{cookie}{csrf}"), "").await;
    assert!(answer.status == 204 && answer.headers["set-cookie"].contains("Max-Age=0"), "{answer:?}");
    assert_eq!(with(server.address, "GET", "/api/v1/state", &cookie, "").await.status, 401);
}

#[tokio::test]
async fn a_session_is_over_when_its_user_is_another_one_and_a_viewer_only_looks() {
    let server = with_users().await;
    let (_, cookie, report) = log_in(server.address, "eve", "herring").await;
    let headers = format!(
        "Cookie: {}\r\nX-CSRF-Token: {}\r\n",
        cookie.split(';').next().unwrap(),
        report["csrf"].as_str().unwrap()
    );
    assert_eq!(with(server.address, "GET", "/api/v1/state", &headers, "").await.status, 200);
    assert_eq!(with(server.address, "POST", DRAIN, &headers, "").await.status, 403, "as at the command line");
    server.fake.configuration.lock().unwrap().running.config.users.get_mut(&name("eve")).unwrap().level = 1;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(with(server.address, "GET", "/api/v1/state", &headers, "").await.status, 401);
}

#[tokio::test]
async fn a_wrong_password_is_told_late_and_says_nothing_of_the_user() {
    let server = with_users().await;
    let mut told = Vec::new();
    for (user, password) in [("admin", "wrong"), ("nobody", "wrong"), ("a b", "wrong"), ("admin", "")] {
        let begun = Instant::now();
        let (answer, cookie, problem) = log_in(server.address, user, password).await;
        assert!(begun.elapsed() >= quick().denied_after);
        assert_eq!((answer.status, cookie.as_str()), (401, ""));
        told.push(problem);
    }
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    for _ in 0..6 {
        log_in(server.address, "admin", "wrong").await;
    }
    assert_eq!(log_in(server.address, "admin", "swordfish").await.0.status, 429);
}

/// A certificate of our own, in files that are there while this is.
struct Files(PathBuf, HttpTls);

impl Files {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("lbd-http-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&directory).unwrap();
        let files = HttpTls { certificate: directory.join("crt"), key: directory.join("key") };
        let made = rcgen::generate_simple_self_signed(vec!["lb1.example".to_owned()]).unwrap();
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        Self(directory, files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn over_tls(
    address: SocketAddr,
    files: &HttpTls,
    versions: &[&'static SupportedProtocolVersion],
    request: &str,
) -> Option<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.certificate).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.ok()?;
    let name = ServerName::try_from("lb1.example").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    parse(&bytes)
}

fn outside(files: &Files, allow: &str) -> Http {
    let (entries, _) = tokens();
    Http {
        listen: vec!["127.0.0.1:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap()],
        tls: Some(files.1.clone()),
        allow: vec![network(allow)],
        tokens: entries,
        ..Http::default()
    }
}

fn port_of_outside(server: &Server) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.listening[1].at.as_ref().unwrap().port()))
}

#[tokio::test]
async fn outside_loopback_there_is_tls_and_nothing_without_a_token() {
    let files = Files::new();
    let mut http = outside(&files, "127.0.0.0/8");
    let (text, hash) = token::new().unwrap();
    http.tokens.get_mut(&name("t1")).unwrap().hash = hash;
    let server = start_at(Fake::default(), quick(), http).await;
    let address = port_of_outside(&server);
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        let ask = async |path: &str, headers: &str| {
            let text = format!("GET {path} HTTP/1.1\r\nHost: lb1.example:1\r\nConnection: close\r\n{headers}\r\n");
            over_tls(address, &files.1, versions, &text).await.unwrap()
        };
        assert_eq!(ask("/healthz", "").await.status, 200);
        for path in ["/metrics", "/api/v1/state", "/api/v1/openapi.json", "/nowhere", "/api/v1/changes"] {
            assert_eq!(ask(path, "").await.status, 401, "{path}");
        }
        assert_eq!(ask("/api/v1/state", &bearer(&text)).await.status, 200);
    }
    // Plain text is no TLS.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(parse(&bytes).is_none());
}

#[tokio::test]
async fn over_tls_a_sessions_cookie_is_for_tls_alone() {
    let files = Files::new();
    let fake = Fake::default();
    let user = User { level: 15, secret: Some(secrets::hash("swordfish").unwrap()), ..User::default() };
    fake.configuration.lock().unwrap().running.config.users = BTreeMap::from([(name("admin"), user)]);
    let server = start_at(fake, quick(), outside(&files, "127.0.0.0/8")).await;
    let body = r#"{"user": "admin", "password": "swordfish"}"#;
    let text = request("POST", "/api/v1/login", "Origin: https://localhost\r\n", body);
    let answer = over_tls(port_of_outside(&server), &files.1, &[&version::TLS13], &text).await.unwrap();
    let cookie = &answer.headers["set-cookie"];
    assert!(
        answer.status == 200 && cookie.starts_with("__Host-lbd-session=") && cookie.contains("; Secure"),
        "{cookie}"
    );
    let foreign = request("POST", "/api/v1/login", "Origin: http://localhost\r\n", body);
    let answer = over_tls(port_of_outside(&server), &files.1, &[&version::TLS13], &foreign).await.unwrap();
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn whoever_is_in_no_network_of_the_list_gets_no_byte() {
    let files = Files::new();
    let server = start_at(Fake::default(), quick(), outside(&files, "192.0.2.0/24")).await;
    let request = "GET /healthz HTTP/1.1\r\nHost: lb1.example\r\nConnection: close\r\n\r\n";
    assert!(over_tls(port_of_outside(&server), &files.1, &[&version::TLS13], request).await.is_none());
    // The list is of the others.
    assert_eq!(with(server.address, "GET", "/healthz", "", "").await.status, 200);
}
