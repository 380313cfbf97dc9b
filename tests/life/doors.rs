//! HTTP from the network: TLS, tokens, who may connect; and a door that cannot be opened.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use lbd::lab::mail;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

use super::conf::Conf;
use super::stage::{Stage, until};

const NAME: &str = "lb1.example.net";
const DAYS: u64 = 20;

fn conf(dir: &Path, more: &str) -> Conf {
    let (cert, key) = (dir.join("http.crt"), dir.join("http.key"));
    let tls = format!("tls: {{certificate: {}, key: {}}}", cert.display(), key.display());
    Conf::new(2)
        .pool("echo", "members: [pc1, pc2]")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat")
        .head(&format!(
            "http: {{listen: [\"127.0.0.1:8080\", \"10.1.0.2:8443\"{more}], {tls}, allow: [{}/32]}}",
            mail::pc_address(1)
        ))
}

/// A certificate of the box, good for some days; it is its own authority.
fn certify(dir: &Path, days: u64) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + Duration::from_secs(days * 86_400)).into();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(dir.join("http.key"), key.serialize_pem()).unwrap();
    fs::write(dir.join("http.crt"), certificate.pem()).unwrap();
}

/// A request from a machine of the site: the status, or 0 without an answer, and the answer.
fn curl(stage: &Stage, from: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let mut curl = stage.host(from).command("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--resolve"])
        .arg(format!("{NAME}:8443:10.1.0.2"));
    curl.arg("--cacert").arg(stage.dir().join("http.crt")).args(["--write-out", "\n%{http_code}"]);
    if let Some(token) = token {
        curl.arg("--header").arg(format!("Authorization: Bearer {token}"));
    }
    curl.arg(format!("https://{NAME}:8443{path}")).stdin(Stdio::null()).env_clear().env("PATH", "/usr/bin:/bin");
    let output = curl.output().expect("curl is missing; `tools/setup.sh test` installs it");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').expect("a line with the status");
    let error = String::from_utf8_lossy(&output.stderr);
    (status.parse().unwrap(), format!("{body}{error}"))
}

fn warned(stage: &Stage, words: &str) -> bool {
    let warnings = stage.state().0["warnings"].clone();
    warnings.as_array().unwrap().iter().any(|warning| warning.as_str().unwrap().contains(words))
}

fn certificate_ends(stage: &Stage) -> Option<u64> {
    stage.state().0["http_certificate_ends_at"].as_u64()
}

#[test]
fn the_network_comes_in_by_tls_with_a_token_and_what_keeps_a_door_shut_is_an_alarm() {
    let mut stage = Stage::without_balancer(2);
    let dir = stage.dir();
    stage.configure(&conf(&dir, ""));
    stage.start();

    // There is no certificate yet: nobody comes in, and the box says why.
    until("the missing certificate is told", || warned(&stage, "TLS of HTTP: "));
    assert!(warned(&stage, "http.crt cannot be read"), "{}", stage.state().0["warnings"]);
    assert_eq!((curl(&stage, "pc1", "/healthz", None).0, certificate_ends(&stage)), (0, None));
    certify(&dir, DAYS);
    until("the certificate is found by itself", || {
        !warned(&stage, "TLS of HTTP") && certificate_ends(&stage).is_some()
    });
    let begins = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let days = (certificate_ends(&stage).unwrap() - begins) as f64 / 86_400.0;
    assert!((DAYS as f64 - 0.1..=DAYS as f64).contains(&days), "{days}");

    // Without a token there is health, and nothing else.
    let (status, body) = curl(&stage, "pc1", "/healthz", None);
    assert_eq!((status, body.as_str()), (200, r#"{"status":"ok","role":"active"}"#));
    for path in ["/metrics", "/api/v1/state"] {
        assert_eq!(curl(&stage, "pc1", path, None).0, 401, "{path}");
        assert_eq!(curl(&stage, "pc1", path, Some("lbd_nobody_has_this")).0, 401, "{path}");
    }
    // Whoever is in no network of `allow` is not even greeted.
    assert_eq!(curl(&stage, "pc2", "/healthz", None).0, 0);

    // A token of the monitoring: metrics, and no more than that.
    let shown = stage.typed("generate api-token monitoring privilege 0");
    let token = shown.lines().nth(2).unwrap().trim();
    let (status, metrics) = curl(&stage, "pc1", "/metrics", Some(token));
    assert_eq!(status, 200, "{metrics}");
    let ends = format!("\nlbd_http_certificate_expiry_timestamp_seconds {}\n", certificate_ends(&stage).unwrap());
    assert!(metrics.contains(&ends), "{metrics}");
    assert_eq!(curl(&stage, "pc1", "/api/v1/state", Some(token)).0, 403);
    // One that may look.
    let shown = stage.typed("generate api-token scripts privilege 1");
    let scripts = shown.lines().nth(2).unwrap().trim();
    let (status, state) = curl(&stage, "pc1", "/api/v1/state", Some(scripts));
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!((status, &state["hostname"]), (200, &stage.state().0["hostname"]));

    // A renewed certificate is shown without a restart, to those who come anew.
    certify(&dir, 2 * DAYS);
    until("the new certificate is shown", || curl(&stage, "pc1", "/healthz", None).0 == 200);

    // A port that another program has.
    let taken = stage.host("lb1").enter(|| TcpListener::bind("127.0.0.1:8081")).unwrap().unwrap();
    stage.configure(&conf(&dir, ", \"127.0.0.1:8081\""));
    stage.hang_up();
    until("the port that is taken is told", || {
        warned(&stage, "no HTTP on 127.0.0.1:8081: another program has the port")
    });
    until("and is an event", || {
        let events = stage.api().request("GET", "/api/v1/events?class=alarm", "").unwrap();
        events.body.contains("no HTTP on 127.0.0.1:8081")
    });
    drop(taken);
    until("the alarm ends when the port is free", || !warned(&stage, "no HTTP"));
}
