//! Clients as they are, unmodified.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::stage::{ENABLE, PASSWORD, PATIENCE, Stage, WATCH, output, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_has_a_command_done_and_its_exit_status() {
    let stage = Stage::new().await;
    let text = run(stage.ssh(&[]).arg("show server real pc2")).await;
    assert!(text.starts_with("Name: pc2") && !text.contains('\r') && !text.contains("lb1"), "{text:?}");
    let refused = output(stage.ssh(&[]).args(["show", "nosuch"])).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stdout).contains("% Invalid input detected at '^' marker."));
    let text = run(stage.ssh(&[]).arg("server disable pc4 force")).await;
    assert!(text.contains("enabled -> disabled"), "{text}");
    // With a terminal lines end as terminals want them, and the ecdsa key is as good.
    let mut command = stage.ssh_as("admin", &["-tt", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
    let text = run(command.args(["-i", &stage.path("ecdsa"), "show privilege"])).await;
    assert_eq!(text, "Current privilege level is 15\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_without_a_terminal_is_a_script() {
    let stage = Stage::new().await;
    for (script, status) in [("show privilege\nshow version | inc lbd\n", 0), ("nosuch\nshow privilege", 1)] {
        let mut command = stage.ssh(&["-T"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.status.code(), Some(status), "{text}");
        assert!(text.contains("Current privilege level is 15\n") && !text.contains("lb1#"), "{text:?}");
    }
}

/// More than all buffers hold, both ways: neither side may wait for the other for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_script_and_its_long_answers_pass_each_other() {
    let stage = Stage::new().await;
    let lines = 40_000;
    let script = "show privilege\n".repeat(lines);
    let mut command = stage.ssh(&["-T"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let write = tokio::spawn(async move { input.write_all(script.as_bytes()).await });
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it hangs").unwrap();
    write.await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout).lines().count(), lines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_at_a_terminal_feels_as_fingers_expect() {
    let stage = Stage::new().await;
    stage.python("openssh.py", &[PASSWORD, WATCH, ENABLE]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plink_gets_in_by_password() {
    let stage = Stage::new().await;
    let key = stage.python("hostkey.py", &[]).await;
    let mut command = Command::new("plink");
    command.args(["-batch", "-ssh", "-P", &stage.address.port().to_string(), "-l", "admin", "-pw", PASSWORD]);
    command.args(["-hostkey", key.trim(), "127.0.0.1", "show privilege"]).env("HOME", &stage.dir);
    assert_eq!(run(&mut command).await, "Current privilege level is 15\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paramiko_with_a_wrong_key_first_and_the_right_password_second_is_in_at_once() {
    let stage = Stage::new().await;
    let seconds: f64 = stage.python("paramiko_login.py", &[PASSWORD]).await.trim().parse().unwrap();
    assert!(seconds < 5.0, "{seconds} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn netmiko_takes_it_for_a_cisco() {
    let stage = Stage::new().await;
    stage.python("netmiko_session.py", &["cisco_ios", "watch", WATCH, ENABLE]).await;
    stage.python("netmiko_session.py", &["cisco_ios", "admin", PASSWORD, ""]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn netmiko_takes_it_for_a_brocade() {
    let stage = Stage::new().await;
    stage.python("netmiko_session.py", &["brocade_fastiron", "watch", WATCH, ENABLE]).await;
}
