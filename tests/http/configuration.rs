//! The configuration over HTTP, and tokens.

use std::collections::BTreeMap;

use lbd::access::token;
use lbd::config::{Http, Name, Token, to_yaml};
use lbd::http::Limits;
use serde_json::json;

use crate::support::client::{Answer, raw};
use crate::support::{Fake, Server, start_at};

const CONFIG: &str = "/api/v1/config";

struct Admin {
    server: Server,
    token: String,
}

impl Admin {
    /// With a token that may do everything; nobody else may.
    async fn new() -> Self {
        let (token, hash) = token::new().unwrap();
        let entry = Token { hash, level: 15, expires: None, from: Vec::new() };
        let tokens = BTreeMap::from([(Name::new("admin").unwrap(), entry)]);
        let http = Http { listen: vec!["127.0.0.1:0".parse().unwrap()], tokens, ..Http::default() };
        Self { server: start_at(Fake::default(), Limits::default(), http).await, token: token.to_string() }
    }

    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let token = &self.token;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        raw(self.server.address, request).await
    }

    async fn order(&self, what: &str, body: &str) -> Answer {
        self.ask("POST", &format!("{CONFIG}/{what}"), "Content-Type: application/json\r\n", body).await
    }

    async fn put(&self, if_match: &str, kind: &str, body: &str) -> Answer {
        let headers = format!("{if_match}Content-Type: {kind}\r\n");
        self.ask("PUT", CONFIG, &headers, body).await
    }
}

#[tokio::test]
async fn whoever_may_only_look_sees_no_hash_in_either_notation() {
    let admin = Admin::new().await;
    for query in ["", "?format=json", "?format=yaml"] {
        let path = format!("{CONFIG}{query}");
        let all = admin.ask("GET", &path, "", "").await;
        assert!(all.text().contains("$6$") && all.text().contains("sha256:"), "{query}");
        assert_eq!(all.headers["etag"], "\"1\"");
        let viewer =
            raw(admin.server.address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
                .await;
        assert!(!viewer.text().contains("$6$") && !viewer.text().contains("sha256:"), "{query}: {}", viewer.text());
        assert!(viewer.text().contains("<removed>") && viewer.text().contains("pc2"), "{query}");
    }
    assert_eq!(admin.ask("GET", &format!("{CONFIG}?format=xml"), "", "").await.status, 400);
}

#[tokio::test]
async fn a_configuration_is_replaced_by_what_was_made_of_it_alone() {
    let admin = Admin::new().await;
    let yaml = "application/yaml";
    let config = admin.server.fake.configuration.lock().unwrap().running.config.clone();
    let text = to_yaml(&config).replace("hostname: lb1", "hostname: lb7");
    assert_eq!(admin.put("", yaml, &text).await.status, 428);
    assert_eq!(admin.put("If-Match: 1\r\n", yaml, &text).await.status, 400);
    assert_eq!(admin.put("If-Match: \"1\"\r\n", "text/plain", &text).await.status, 415);
    let late = admin.put("If-Match: \"0\"\r\n", yaml, &text).await;
    assert_eq!((late.status, &late.problem()["revision"]), (412, &json!(1)));
    let wrong = admin.put("If-Match: \"1\"\r\n", yaml, "hostname: [\n").await;
    assert!(wrong.status == 422 && wrong.problem()["diagnostics"][0]["line"].is_number(), "{wrong:?}");
    assert_eq!(admin.server.fake.configuration.lock().unwrap().revision, 1, "nothing has changed");
    let good = admin.put("If-Match: \"1\"\r\n", yaml, &text).await;
    assert_eq!((good.status, good.headers["etag"].as_str()), (200, "\"2\""), "{good:?}");
    assert_eq!(admin.server.fake.configuration.lock().unwrap().running.config.hostname.as_str(), "lb7");
    // And as JSON, with what GET has told.
    let mut tree = admin.ask("GET", CONFIG, "", "").await.json()["config"].clone();
    tree["hostname"] = json!("lb8");
    let good = admin.put("If-Match: \"2\"\r\n", "application/json", &tree.to_string()).await;
    assert_eq!(good.status, 200, "{good:?}");
    assert_eq!(admin.server.fake.configuration.lock().unwrap().running.config.hostname.as_str(), "lb8");
    // Larger than an order may be, and smaller than a file may.
    let large = format!("{text}# {}\n", "x".repeat(1024 * 1024));
    assert_eq!(admin.put("If-Match: \"3\"\r\n", yaml, &large).await.status, 200);
}

#[tokio::test]
async fn what_is_not_confirmed_is_taken_back_and_what_is_saved_is_kept() {
    let admin = Admin::new().await;
    assert_eq!(admin.order("confirm", "").await.status, 409);
    for minutes in ["0", "121", "-1", "1.5", "\"1\""] {
        let answer = admin.order("hold", &format!("{{\"minutes\": {minutes}}}")).await;
        assert_eq!(answer.status, 400, "{minutes}");
    }
    assert_eq!(admin.order("hold", r#"{"minutes": 10}"#).await.status, 200);
    let hold = admin.ask("GET", CONFIG, "", "").await.json()["hold"].clone();
    assert_eq!(hold, json!({ "by": "token admin from 127.0.0.1", "left_seconds": 60 }));
    assert_eq!(admin.order("confirm", "{}").await.json(), json!({ "notes": [] }));
    assert_eq!(admin.order("save", "").await.status, 200);
    assert_eq!(admin.order("replace", "{}").await.status, 200);
    let none = admin.order("replace", r#"{"archive": 99}"#).await;
    assert_eq!((none.status, &none.problem()["archive"]), (404, &json!(99)));
    assert_eq!(admin.ask("GET", &format!("{CONFIG}/archive"), "", "").await.json(), json!([]));
    let startup = admin.ask("GET", &format!("{CONFIG}/archive/startup"), "", "").await;
    assert!(startup.status == 200 && startup.text().starts_with("hostname: "), "{startup:?}");
    for which in ["99", "nonsense", "-1"] {
        assert_eq!(admin.ask("GET", &format!("{CONFIG}/archive/{which}"), "", "").await.status, 404, "{which}");
    }
}

#[tokio::test]
async fn differences_are_told_in_commands() {
    let admin = Admin::new().await;
    let tell = async |query: &str| admin.ask("GET", &format!("{CONFIG}/differences{query}"), "", "").await;
    assert_eq!(tell("?from=running&to=running").await.json(), json!({ "lines": [] }));
    let mut lines = tell("").await.json()["lines"].as_array().unwrap().clone();
    // The fake's listener is another one than its file's.
    lines.retain(|line| !line.as_str().unwrap().contains("ip http"));
    assert_eq!(lines, Vec::<serde_json::Value>::new());
    admin.server.fake.configuration.lock().unwrap().running.config.hostname = Name::new("lb7").unwrap();
    let lines = tell("?to=running").await.json()["lines"].clone();
    let has = |line: &str| lines.as_array().unwrap().contains(&json!(line));
    assert!(has("-hostname lb1") && has("+hostname lb7"), "{lines}");
    assert_eq!(tell("?from=99").await.status, 404);
    assert_eq!(tell("?from=nonsense").await.status, 400);
}

#[tokio::test]
async fn a_new_token_is_told_once_and_is_good_at_once() {
    let admin = Admin::new().await;
    let json = "Content-Type: application/json\r\n";
    let path = "/api/v1/tokens/grafana";
    let made = admin.ask("POST", path, json, r#"{"level": 0, "expires": "2999-12-31"}"#).await;
    assert_eq!(made.status, 200, "{made:?}");
    let text = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(admin.ask("POST", path, json, "").await.status, 409, "there is one already");
    for (path, body) in [
        ("/api/v1/tokens/a%20b", "{}"),
        ("/api/v1/tokens/b", r#"{"level": 16}"#),
        ("/api/v1/tokens/b", r#"{"expires": "tomorrow"}"#),
        ("/api/v1/tokens/b", "[1, null]"),
    ] {
        assert_eq!(admin.ask("POST", path, json, body).await.status, 400, "{path} {body}");
    }
    assert!(!admin.ask("GET", CONFIG, "", "").await.text().contains(&text));
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    let new = Admin { token: text, ..admin };
    assert_eq!(new.ask("GET", "/metrics", "", "").await.status, 200);
    assert_eq!(new.ask("GET", "/api/v1/state", "", "").await.status, 403);
}

#[tokio::test]
async fn lines_of_the_command_line_and_of_the_log_are_told_to_who_may() {
    let admin = Admin::new().await;
    assert!(admin.ask("GET", "/api/v1/lines", "", "").await.json().is_array());
    assert_eq!(admin.ask("DELETE", "/api/v1/lines/9999", "", "").await.status, 404);
    assert_eq!(admin.ask("DELETE", "/api/v1/lines/x", "", "").await.status, 404);
    assert!(admin.ask("GET", "/api/v1/log?limit=5", "", "").await.json()["lines"].as_array().unwrap().len() <= 5);
    assert_eq!(admin.ask("GET", "/api/v1/log?limit=0", "", "").await.status, 400);
    assert!(admin.ask("GET", "/api/v1/ssh", "", "").await.json()["listening"].is_array());
    assert_eq!(admin.ask("GET", "/api/v1/version", "", "").await.json()["hostname"], "lb1");
}
