//! A true Prometheus beside the balancer of the lab, with the files that we ship.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lbd::lab::mail::{BALANCER, MailSite};
use lbd::lab::{Host, Process};
use serde_json::Value;

const LBD: &str = env!("CARGO_BIN_EXE_lbd");
const PATIENCE: Duration = Duration::from_secs(60);
const PORT: u16 = 9090;

fn get(host: &Host, port: u16, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let ask = move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    };
    let reply = host.enter(ask).unwrap().ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

/// The vector that Prometheus answers to a question.
fn asked(host: &Host, question: &str) -> Vec<Value> {
    let escaped: String = question.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let Some(body) = get(host, PORT, &format!("/api/v1/query?query={escaped}")) else { return Vec::new() };
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["status"], "success", "{answer}");
    answer["data"]["result"].as_array().unwrap().clone()
}

fn value(sample: &Value) -> f64 {
    sample["value"][1].as_str().unwrap().parse().unwrap()
}

/// Waits until it is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn prometheus(lab: &MailSite) -> Process {
    let dir = lab.site.dir().join("prometheus");
    std::fs::create_dir_all(&dir).unwrap();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring/alerts.yaml");
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ['{}']
scrape_configs:
  - job_name: lbd
    static_configs: [{{targets: ['127.0.0.1:8080'], labels: {{pair: mail, instance: lb1}}}}]
",
        rules.display()
    );
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let mut command = lab.site.host(BALANCER).unwrap().command("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{PORT}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(dir.join("log")).unwrap());
    lab.site.start(BALANCER, command).unwrap()
}

#[test]
fn prometheus_scrapes_the_lab_and_its_alerts_tell_of_a_server_that_dies_and_of_a_daemon_that_does() {
    let mut lab = MailSite::start(Path::new(LBD)).unwrap();
    let pid = lab.start_balancer().unwrap().process().pid();
    let host = lab.site.host(BALANCER).unwrap().clone();
    let _prometheus = prometheus(&lab);
    until("it is scraped", || asked(&host, "up{job=\"lbd\"} == 1").len() == 1);
    until("all members are up", || {
        let up = asked(&host, "min(lbd_member_up)");
        up.first().is_some_and(|sample| value(sample) == 1.0)
    });
    // Prometheus takes every sample: none is refused as a duplicate, malformed or out of order.
    let scraped = asked(&host, "scrape_samples_scraped{job=\"lbd\"}");
    let kept = asked(&host, "scrape_samples_post_metric_relabeling{job=\"lbd\"}");
    assert!(value(&scraped[0]) > 300.0 && value(&scraped[0]) == value(&kept[0]), "{scraped:?} {kept:?}");
    let log = std::fs::read_to_string(lab.site.dir().join("prometheus/log")).unwrap();
    assert!(!log.contains("Error on ingesting"), "{log}");

    lab.server("pc1").unwrap().kill().unwrap();
    let dead = "lbd_member_up{server=\"pc1\"} == 0";
    until("the dead server is seen", || !asked(&host, dead).is_empty());
    // It waits two minutes before it is told; that it is on its way is enough here.
    until("its alert is pending", || !asked(&host, "ALERTS{alertname=\"LbdServerDown\",server=\"pc1\"}").is_empty());

    // Nothing is stale: what leaves the configuration leaves the metrics.
    let series = "count({server=\"pc3\",job=\"lbd\"})";
    assert!(!asked(&host, series).is_empty());
    let api = lbd::lab::api::Api::new(host.clone());
    host.block_on(move || async move { api.remove("pc3").await.unwrap() }).unwrap();
    until("its series are gone", || asked(&host, series).is_empty());

    // The daemon dies, and a question is answered by nobody.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    until("it is not scraped", || asked(&host, "up{job=\"lbd\"} == 0").len() == 1);
    until("its alert is pending", || !asked(&host, "ALERTS{alertname=\"LbdUnreachable\"}").is_empty());
}
