//! The configuration, typed at the console of a daemon that serves.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::conf::Conf;
use super::stage::{LBD, Stage};
use super::talk::{Newcomers, Talkers};

const V: &str = "192.0.2.25:7";
const W: &str = "192.0.2.110:7";

fn conf() -> Conf {
    Conf::new(3)
        .pool("echo", "members: [pc1, pc2], scheduler: round-robin")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat")
}

/// A script that is typed at the console.
pub fn typed(stage: &Stage, script: &str) -> Output {
    let mut command = Command::new(LBD);
    command.arg("console").arg("--run-dir").arg(stage.dir().join("run"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The same, of which nothing is refused.
pub fn done(stage: &Stage, script: &str) -> String {
    let output = typed(stage, script);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}: {said}\n{}", stage.log());
    said
}

const NEW: &str = "configure terminal\nserver pool more\n member pc3\n member pc1\n check type tcp\n check interval 200ms\n \
                   check timeout 150ms\n slow-start 0\nserver virtual w\n ip-address 192.0.2.110\n service w\n  \
                   pool more\n  port 7\n  mode dsr\nend\n";

#[test]
fn a_virtual_server_is_typed_balances_is_saved_and_comes_back() {
    let mut stage = Stage::new(3, &conf());
    let file = std::fs::read_to_string(stage.config_file()).unwrap();
    std::fs::write(stage.config_file(), format!("# of the mail cluster\n{file}# and no more\n")).unwrap();
    let client = stage.client().clone();
    let talkers = Talkers::open(&client, V, 60, &[]);
    let newcomers = Newcomers::start(&client, V, Duration::from_millis(10));
    assert_eq!(done(&stage, NEW), "", "nothing is said to what is right");
    stage.wait("it is scheduled", |s| s.find("w/w").is_some() && s.all_scheduled());
    assert!(stage.ask(W, 60).of("pc3") > 0);
    talkers.all_talk();
    newcomers.end_all_served();

    assert_eq!(stage.state().0["config"]["unsaved"], true);
    let saved = std::fs::read_to_string(stage.config_file()).unwrap();
    assert!(!saved.contains("192.0.2.110"), "what is not saved is not in the file");
    assert_eq!(done(&stage, "write memory\n"), "Building configuration...\n[OK]\n");
    assert_eq!(stage.state().0["config"]["unsaved"], false);
    let saved = std::fs::read_to_string(stage.config_file()).unwrap();
    assert!(saved.starts_with("# of the mail cluster\n") && saved.ends_with("# and no more\n"), "{saved}");
    let differences = done(&stage, "show archive config differences 1 startup-config\n");
    assert!(differences.contains("+server virtual w\n+ ip-address 192.0.2.110\n"), "{differences}");

    stage.kill_balancer();
    stage.start();
    stage.wait("it is scheduled again", |s| s.find("w/w").is_some() && s.all_scheduled());
    assert!(stage.ask(W, 60).of("pc1") > 0);
    talkers.end();
    // And back, all of it at once.
    done(&stage, "configure replace archive 1\n");
    stage.wait("it is gone", |s| s.find("w/w").is_none());
    assert!(done(&stage, "show archive config differences\n").contains("-server virtual w"), "from what is saved");
    done(&stage, "configure replace startup-config force\n");
    stage.wait("it is there", |s| s.find("w/w").is_some() && s.all_scheduled());
}

#[test]
fn what_is_not_saved_is_gone_after_a_restart() {
    let mut stage = Stage::new(3, &conf());
    done(&stage, NEW);
    stage.wait("it is there", |s| s.find("w/w").is_some());
    stage.kill_balancer();
    stage.start();
    stage.wait("it is gone", |s| s.find("w/w").is_none() && s.all_scheduled());
}

#[test]
fn what_is_printed_can_be_typed_and_moves_nothing() {
    let stage = Stage::new(3, &conf());
    let before = stage.state();
    let printed = done(&stage, "show running-config\n");
    assert!(printed.starts_with("Building configuration...\n\nCurrent configuration : "), "{printed}");
    let body: String = printed.lines().skip(3).map(|line| format!("{line}\n")).collect();
    assert!(body.ends_with("end\n"));
    done(&stage, &format!("configure terminal\n{body}"));
    assert_eq!(stage.state().revision(), before.revision(), "nothing has come into force");
    assert_eq!(done(&stage, "show running-config\n"), printed);
}

#[test]
fn a_change_that_is_not_confirmed_is_taken_back_when_its_session_is_gone() {
    let stage = Stage::new(3, &conf());
    done(&stage, &NEW.replace("terminal", "terminal revert timer 1"));
    stage.wait("it is there", |s| s.find("w/w").is_some());
    let refused = typed(&stage, "configure terminal\nhostname other\nend\n");
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("% root from console holds the configuration for another "), "{said}");
    assert!(stage.state().warnings().contains("has not confirmed it yet"));
    let begun = std::time::Instant::now();
    while stage.state().find("w/w").is_some() {
        assert!(begun.elapsed() < Duration::from_secs(70), "{}", stage.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(begun.elapsed() > Duration::from_secs(50));
    assert!(!stage.state().warnings().contains("confirmed"));
    done(&stage, "configure terminal\nhostname other\nend\n");
    // Another session confirms: the one that has come back after the change.
    done(&stage, &NEW.replace("terminal", "terminal revert timer 1"));
    done(&stage, "configure confirm\n");
    done(&stage, "write memory\n");
    assert!(std::fs::read_to_string(stage.config_file()).unwrap().contains("192.0.2.110"));
}

#[test]
fn a_server_that_was_drained_to_its_end_goes_from_what_is_in_force_and_from_the_file() {
    let stage = Stage::new(3, &conf());
    // Not saved, and stays so.
    done(&stage, NEW);
    done(&stage, "server drain pc2 remove\n");
    stage.wait("it is gone", |s| !s.0["servers"].to_string().contains("pc2"));
    let file = std::fs::read_to_string(stage.config_file()).unwrap();
    assert!(!file.contains("pc2") && !file.contains("192.0.2.110"), "{file}");
    assert!(stage.state().find("w/w").is_some());
}
