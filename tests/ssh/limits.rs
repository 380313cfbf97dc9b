//! What no client may do to the others, and to the box.

use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lbd::cli::ssh::{GateLimits, Limits};
use lbd::config::Prefix;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::timeout;

use crate::stage::{PASSWORD, PATIENCE, Stage, output, patient, run};
use crate::support::fake::Fake;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_after_as_many_wrong_passwords_as_may_be() {
    let stage = Stage::with(Fake::default(), patient(), |config| config.ssh.attempts = 2).await;
    let said = stage.python("passwords.py", &["admin", "a", "b", PASSWORD]).await;
    assert_eq!(said, "denied\ndenied\nover\n", "the right one comes too late");
    // Keys that an agent offers are no guesses.
    let mut command = stage.ssh_as("admin", &["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
    for _ in 0..3 {
        command.args(["-i", &stage.path("wrong")]);
    }
    run(command.args(["-i", &stage.path("key"), "show", "clock"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_guesses_is_blocked_for_a_while() {
    let block = Duration::from_secs(4);
    let gate = GateLimits { failures: 3, block, ..patient().gate };
    let stage = Stage::with(Fake::default(), Limits { gate, ..patient() }, |_| {}).await;
    assert_eq!(
        stage.python("passwords.py", &["admin", "a", "b", "c", PASSWORD]).await,
        "denied\ndenied\ndenied\nover\n"
    );
    let blocked = Instant::now();
    assert_eq!(output(stage.ssh(&[]).arg("show clock")).await.status.code(), Some(255));
    assert!(blocked.elapsed() < block, "it was not blocked");
    tokio::time::sleep(block).await;
    run(stage.ssh(&[]).arg("show clock")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_login_takes_its_time() {
    let limits = Limits { denied_after: Duration::from_secs(2), ..patient() };
    let stage = Stage::with(Fake::default(), limits, |_| {}).await;
    for user in ["admin", "nobody"] {
        let begun = Instant::now();
        assert_eq!(stage.python("passwords.py", &[user, "a"]).await, "denied\n");
        assert!(begun.elapsed() >= Duration::from_secs(2), "{user}: {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_log_in_in_time_is_shown_out() {
    let stage = Stage::with(Fake::default(), patient(), |config| config.ssh.grace = Duration::from_secs(1)).await;
    for words in ["", "SSH-2.0-slow\r\n"] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        // It may end in a reset.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it is still open");
        assert!(all.starts_with(b"SSH-2.0-lbd_"));
        let took = begun.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_networks_of_the_access_list_come_in() {
    let stage = Stage::new().await;
    let network = |text: &str, length| Prefix { address: text.parse().unwrap(), length };
    stage.change(|config| config.ssh.access = vec![network("192.0.2.0", 24), network("2001:db8::", 32)]);
    // What was read of the configuration is good for half a second.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let refused = output(stage.ssh(&[]).arg("show clock")).await;
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    stage.change(|config| config.ssh.access.push(network("127.0.0.0", 8)));
    tokio::time::sleep(Duration::from_millis(600)).await;
    run(stage.ssh(&[]).arg("show clock")).await;
}

/// A crowd of tools comes at once: each waits its moment, and none is turned away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_at_once_are_all_served() {
    let gate = GateLimits { failures: 1_000, ..GateLimits::default() };
    let stage = Stage::with(Fake::default(), Limits { gate, ..patient() }, |_| {}).await;
    let all = (0..10).map(|_| {
        let mut command = stage.ssh(&[]);
        command.arg("show server real");
        tokio::spawn(async move { run(&mut command).await })
    });
    for one in all.collect::<Vec<_>>() {
        assert!(one.await.unwrap().contains("pc2"));
    }
}

/// Logged in, with a prompt.
async fn logged_in(stage: &Stage) -> (Child, BufReader<tokio::process::ChildStdout>) {
    let mut child = stage.ssh(&["-tt"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut seen = Vec::new();
    timeout(PATIENCE, out.read_until(b'#', &mut seen)).await.expect("no prompt").unwrap();
    assert!(seen.ends_with(b"lb1#"), "{}", String::from_utf8_lossy(&seen));
    (child, out)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_are_logged_in_as_may_be_and_the_last_is_an_administrator() {
    let stage = Stage::with(Fake::default(), patient(), |config| config.ssh.sessions = 2).await;
    let (mut first, _out) = logged_in(&stage).await;
    let watch = stage.python("passwords.py", &["watch", crate::stage::WATCH]).await;
    // He may be shown out before he knows that he was in.
    assert_ne!(watch, "in\n", "the last place is not his");
    let (_second, _out2) = logged_in(&stage).await;
    assert_ne!(stage.python("passwords.py", &["admin", PASSWORD]).await, "in\n");
    first.stdin.take().unwrap().write_all(b"exit\r").await.unwrap();
    timeout(PATIENCE, first.wait()).await.unwrap().unwrap();
    // A place is free as soon as the connection is gone.
    let begun = Instant::now();
    while !output(stage.ssh(&[]).arg("show clock")).await.status.success() {
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_ten_channels_and_no_more() {
    let stage = Stage::new().await;
    assert_eq!(stage.python("channels.py", &[]).await, "10\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_a_key_ends() {
    let stage = Stage::with(Fake::default(), patient(), |config| config.ssh.idle = Duration::from_secs(1)).await;
    let (mut child, mut out) = logged_in(&stage).await;
    let mut rest = String::new();
    timeout(PATIENCE, out.read_to_string(&mut rest)).await.expect("it goes on").unwrap();
    assert!(rest.contains("% Nothing was typed for 1s: the session ends"), "{rest}");
    assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
}

/// What runs for a client that is gone ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_in_the_middle_of_a_command_ends_it() {
    let stage = Stage::with(Fake { rows: 50_000_000, ..Fake::default() }, patient(), |_| {}).await;
    let mut command = stage.ssh(&[]);
    let mut child = command.arg("show server session limit 10000000").stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut some = vec![0; 4_096];
    timeout(PATIENCE, out.read_exact(&mut some)).await.unwrap().unwrap();
    child.kill().await.unwrap();
    let begun = Instant::now();
    while !stage.fake.walk_over.load(Ordering::SeqCst) {
        assert!(begun.elapsed() < PATIENCE, "it still runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stage.fake.produced.load(Ordering::SeqCst) < 10_000_000, "it ran to its end");
}
