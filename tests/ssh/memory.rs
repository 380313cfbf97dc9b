//! What sessions cost that never read what they have asked for.

use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage, patient};
use crate::support::fake::Fake;

/// Sessions, so that what one costs is more than what else moves.
const SESSIONS: usize = 12;
/// Of each.
const BYTES_MAX: u64 = 1 << 20;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

/// In a process of its own: other tests would move the number.
#[tokio::test]
async fn a_session_that_never_reads_costs_less_than_a_megabyte() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "memory::sessions_that_never_read"]);
    let text = crate::stage::run(&mut command).await;
    let each = text.lines().find_map(|line| line.split("bytes each: ").nth(1)).unwrap_or_else(|| panic!("{text}"));
    let each: u64 = each.trim().parse().unwrap();
    println!("{each} bytes each");
    assert!(each < BYTES_MAX, "{each} bytes each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the test above"]
async fn sessions_that_never_read() {
    let fake = Fake { rows: 50_000_000, ..Fake::default() };
    let stage = Stage::with(fake, patient(), |config| config.ssh.sessions = 64).await;
    let start = || {
        let mut command = stage.ssh(&[]);
        command.arg("show server session limit 10000000").stdout(Stdio::piped()).spawn().unwrap()
    };
    // What the first costs is for good, and not of a session.
    let mut first = start();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    settled(&stage).await;
    let before = resident();
    let children: Vec<_> = (0..SESSIONS).map(|_| start()).collect();
    settled(&stage).await;
    let grown = resident().saturating_sub(before);
    println!("bytes each: {}", grown / SESSIONS as u64);
    assert!(stage.fake.produced.load(Ordering::SeqCst) > 100_000, "nothing was asked for");
    drop(children);
}

/// Until nothing more is produced.
async fn settled(stage: &Stage) {
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let now = stage.fake.produced.load(Ordering::SeqCst);
        if now == last {
            return;
        }
        last = now;
    }
}
