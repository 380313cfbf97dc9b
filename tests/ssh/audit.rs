//! ssh-audit finds nothing to fail, and the list of algorithms is the one that somebody has looked at.

use std::path::Path;

use lbd::cli::ssh::Limits;
use tokio::process::Command;

use crate::stage::{Stage, output};
use crate::support::fake::Fake;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_audit_finds_what_the_policy_says_and_nothing_to_fail() {
    // As it is: newer releases also look at how many connections a second get an answer.
    let stage = Stage::with(Fake::default(), Limits::default(), |_| {}).await;
    let port = stage.address.port().to_string();
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ssh/policy.txt");
    let mut command = Command::new("ssh-audit");
    command.args(["-n", "-p", &port, "-P"]).arg(policy).arg("127.0.0.1");
    let judged = output(&mut command).await;
    let text = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success() && text.contains("Passed"), "{text}");
    let mut command = Command::new("ssh-audit");
    let judged = output(command.args(["-n", "-l", "fail", "-p", &port, "127.0.0.1"])).await;
    let text = String::from_utf8_lossy(&judged.stdout);
    // What this release does not know yet is not what it finds bad.
    assert!(!text.contains("insufficient connection throttling"), "{text}");
    let failed = text.lines().filter(|line| line.contains("[fail]") && !line.contains("unknown algorithm"));
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<&str>::new(), "{text}");
}
