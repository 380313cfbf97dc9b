//! `lbd nagios` as Nagios calls it, against a listener with a daemon that is a fake, and against a process that hangs.
// Not everything that the other tests need is needed here.
#[allow(dead_code, unused_imports)]
#[path = "http_support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lbd::access::token;
use lbd::config::{Http, HttpTls, Name, Prefix, Token};
use lbd::http::Limits;

use crate::support::{Fake, start, start_at};

struct Said {
    status: i32,
    out: String,
}

fn plugin(words: &[&str]) -> Said {
    let output =
        Command::new(env!("CARGO_BIN_EXE_lbd")).arg("nagios").args(words).stdin(Stdio::null()).output().unwrap();
    Said { status: output.status.code().unwrap(), out: String::from_utf8(output.stdout).unwrap() }
}

async fn asked(words: &[&str]) -> Said {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    tokio::task::spawn_blocking(move || plugin(&words.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
}

fn url(scheme: &str, address: SocketAddr) -> String {
    format!("{scheme}://{address}")
}

fn assert_line(said: &Said, status: i32, begins: &str) {
    assert_eq!(said.status, status, "{}", said.out);
    assert!(said.out.starts_with(begins), "{}", said.out);
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_subject_is_told_in_one_line_with_its_data() {
    let server = start(Fake::default()).await;
    let url = url("http", server.address);
    let pool = asked(&["pool", "mx", "--url", &url]).await;
    // As the state of the fake has it: pc2 is up, pc4 is not.
    assert_line(&pool, 1, "LBD POOL WARNING - mx: 1 of 2 servers up; pc4: ");
    assert!(pool.out.contains(" | up=1;2:;1:;0;2 connections="), "{}", pool.out);
    assert_line(&asked(&["pool", "mx", "-w", "1:", "-c", "0:", "--url", &url]).await, 0, "LBD POOL OK - ");
    assert_line(&asked(&["pool", "mx", "-c", "@0:1", "--url", &url]).await, 2, "LBD POOL CRITICAL - ");
    assert_line(&asked(&["virtual-server", "mail", "--url", &url]).await, 1, "LBD VIRTUAL-SERVER WARNING - mail: ");
    let pair = asked(&["pair", "--url", &url]).await;
    assert!(pair.out.starts_with("LBD PAIR ") && pair.out.contains(" | paths="), "{}", pair.out);
    assert_line(&asked(&["pool", "mxx", "--url", &url]).await, 3, "LBD POOL UNKNOWN - there is no pool mxx");
}

#[test]
fn what_is_not_understood_is_unknown() {
    for words in [
        &["pool"][..],
        &["pool", "mx", "-w", "20:10"],
        &["pool", "mx", "-t", "0"],
        &["swimming-pool"],
        &["pool", "mx", "--nonsense"],
        &[],
    ] {
        let said = plugin(words);
        assert_eq!(said.status, 3, "{words:?}: {}", said.out);
        assert!(!said.out.is_empty(), "{words:?}");
    }
    assert!(plugin(&["pool", "mx", "-w", "20:10"]).out.starts_with("LBD UNKNOWN - "));
    assert_eq!(plugin(&["--help"]).status, 3);
    for url in ["nonsense", "ftp://127.0.0.1", "http://", "https://a b"] {
        assert_line(&plugin(&["pair", "--url", url]), 3, "LBD PAIR UNKNOWN - ");
    }
}

#[test]
fn a_box_that_is_not_there_is_unknown() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = plugin(&["pair", "--url", &url("http", nobody)]);
    assert_line(&said, 3, "LBD PAIR UNKNOWN - no connection to 127.0.0.1");
    let missing = plugin(&["pair", "--token-file", "/nonexistent/token"]);
    assert_line(&missing, 3, "LBD PAIR UNKNOWN - /nonexistent/token cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_does_not_answer_is_unknown_in_time() {
    let server = start(Fake { delay: Duration::from_secs(3600), ..Fake::default() }).await;
    let begun = Instant::now();
    let said = asked(&["pool", "mx", "-t", "1", "--url", &url("http", server.address)]).await;
    assert_line(&said, 3, "LBD POOL UNKNOWN - no answer from http://127.0.0.1");
    assert!((1..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

/// A process that is stopped keeps its socket: the kernel takes the connection, and nobody answers.
#[test]
fn a_process_that_is_stopped_is_unknown_in_time() {
    const SERVER: &str = "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\n\
                          print(s.getsockname()[1], flush=True)\nwhile True: time.sleep(60)";
    let mut server =
        Command::new("python3").args(["-c", SERVER]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut line).unwrap();
    let pid = nix::unistd::Pid::from_raw(server.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    let said = plugin(&["pair", "-t", "1", "--url", &format!("http://127.0.0.1:{}", line.trim())]);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_line(&said, 3, "LBD PAIR UNKNOWN - no answer from");
    assert!((1..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn from_another_machine_it_asks_by_token_and_tls_and_believes_no_other_certificate() {
    let directory = std::env::temp_dir().join(format!("lbd-nagios-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (crt, key, token_file) = (directory.join("crt"), directory.join("key"), directory.join("token"));
    std::fs::write(&crt, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (text, hash) = token::new().unwrap();
    writeln!(std::fs::File::create(&token_file).unwrap(), "{}", *text).unwrap();
    let entry = Token { hash, level: 1, expires: None, from: Vec::new() };
    let http = Http {
        listen: vec!["0.0.0.0:0".parse().unwrap()],
        tls: Some(HttpTls { certificate: crt.clone(), key }),
        allow: vec![Prefix { address: "127.0.0.0".parse().unwrap(), length: 8 }],
        tokens: BTreeMap::from([(Name::new("nagios").unwrap(), entry)]),
        ..Http::default()
    };
    let server = start_at(Fake::default(), Limits::default(), http).await;
    let url = format!("https://127.0.0.1:{}", server.address.port());
    let (crt, token_file) = (crt.to_str().unwrap(), token_file.to_str().unwrap());
    let good = asked(&["pool", "mx", "--url", &url, "--ca", crt, "--token-file", token_file]).await;
    assert_line(&good, 1, "LBD POOL WARNING - mx: 1 of 2");
    let without = asked(&["pool", "mx", "--url", &url, "--ca", crt]).await;
    assert_line(&without, 3, "LBD POOL UNKNOWN - https://127.0.0.1");
    assert!(without.out.contains("answers 401"), "{}", without.out);
    let stranger = asked(&["pool", "mx", "--url", &url, "--token-file", token_file]).await;
    assert_line(&stranger, 3, "LBD POOL UNKNOWN - no TLS with 127.0.0.1");
    let plain = asked(&["pool", "mx", "--url", "http://192.0.2.1", "--token-file", token_file]).await;
    assert_line(&plain, 3, "LBD POOL UNKNOWN - a token goes over https://");
    std::fs::remove_dir_all(&directory).unwrap();
}
