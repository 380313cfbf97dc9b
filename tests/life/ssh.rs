//! The way in over the network, from the first user on. `tests/ssh` has the clients and the limits.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use super::conf::Conf;
use super::stage::{PATIENCE, Stage};

const ADDRESS: &str = "10.1.0.2";

fn conf() -> Conf {
    Conf::new(2)
        .pool("echo", "members: [pc1, pc2], scheduler: round-robin")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat")
}

/// From pc1, by its key.
fn ssh(stage: &Stage, command: &str) -> Output {
    let mut ssh = stage.host("pc1").command("ssh");
    ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5"]);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i"])
        .arg(stage.dir().join("key"));
    ssh.args(["-l", "admin", ADDRESS, command]).stdin(Stdio::null()).env_remove("SSH_AUTH_SOCK");
    ssh.output().expect("OpenSSH's client is missing; `tools/setup.sh test` installs it")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_first_administrator_comes_in_as_soon_as_the_configuration_has_him() {
    let mut stage = Stage::new(2, &conf());
    let shown = stage.typed("show ip ssh");
    assert!(shown.starts_with("SSH is off: there is no user yet") && !shown.contains("Listening"), "{shown}");
    assert_eq!(ssh(&stage, "show clock").status.code(), Some(255), "nobody listens");

    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "pc1", "-f"]).arg(stage.dir().join("key"));
    let made = keygen.status().expect("ssh-keygen is missing; `tools/setup.sh test` installs it");
    assert!(made.success());
    let key = std::fs::read_to_string(stage.dir().join("key.pub")).unwrap();
    let with_admin = conf().head(&format!("users: {{admin: {{level: 15, ssh-keys: [\"{}\"]}}}}", key.trim()));
    stage.configure(&with_admin);
    stage.hang_up();
    let begun = Instant::now();
    let mut first = ssh(&stage, "show server real");
    while !first.status.success() {
        assert!(begun.elapsed() < PATIENCE, "{first:?}\n{}", stage.log());
        first = ssh(&stage, "show server real");
    }
    assert!(text(&first).contains("\npc1 "), "{first:?}");
    assert_eq!(ssh(&stage, "show nosuch").status.code(), Some(1));
    let drained = ssh(&stage, "server drain pc2");
    assert!(drained.status.success(), "{drained:?}");
    stage.wait("pc2 is drained", |_| stage.typed("show server real pc2").contains("GDN"));
    let log = stage.log();
    assert!(log.contains("admin has logged in from ") && log.contains(" by the key SHA256:"), "{log}");
    assert!(log.contains("level 15: \"server drain pc2\": done"), "{log}");

    // The box is known again after a restart, by a key that root alone may read.
    let host_key = stage.dir().join("state/ssh_host_ed25519_key");
    assert_eq!(std::fs::metadata(&host_key).unwrap().permissions().mode() & 0o777, 0o600);
    let fingerprint = |stage: &Stage| {
        let shown = stage.typed("show ip ssh");
        shown.lines().find(|line| line.starts_with("Host key: ED25519 SHA256:")).expect(&shown).to_owned()
    };
    let before = fingerprint(&stage);
    stage.stop_balancer();
    stage.start();
    assert_eq!(fingerprint(&stage), before);
}
