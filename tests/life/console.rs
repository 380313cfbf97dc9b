//! The command line on the box itself: `lbd console`, in a script and at a terminal.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use nix::pty::{OpenptyResult, Winsize, openpty};

use super::conf::Conf;
use super::stage::{LBD, PATIENCE, Stage};

fn stage() -> Stage {
    let conf = Conf::new(2)
        .pool("echo", "members: [pc1, pc2], scheduler: round-robin")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat");
    Stage::new(2, &conf)
}

fn console(stage: &Stage, words: &[&str]) -> Output {
    command(stage).args(words).stdin(Stdio::null()).output().unwrap()
}

fn command(stage: &Stage) -> Command {
    let mut command = Command::new(LBD);
    command.arg("console").arg("--run-dir").arg(stage.dir().join("run"));
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_command_is_carried_out_by_the_daemon_and_has_its_exit_status() {
    let stage = stage();
    let shown = console(&stage, &["show", "server", "real"]);
    assert!(shown.status.success() && text(&shown).contains("\npc1 "), "{shown:?}");
    assert_eq!(console(&stage, &["show", "nosuch"]).status.code(), Some(1));
    let drained = console(&stage, &["server", "drain", "pc1"]);
    assert!(drained.status.success(), "{drained:?}");
    stage.wait("pc1 is drained", |_| text(&console(&stage, &["show", "server", "real", "pc1"])).contains("GDN"));
    assert!(console(&stage, &["server", "enable", "pc1"]).status.success());
    let socket = stage.dir().join("run/console.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "for root alone");
}

#[test]
fn a_script_is_read_from_a_pipe() {
    let stage = stage();
    let mut child = command(&stage).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"show privilege\nshow version\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output).starts_with("Current privilege level is 15\nlbd "), "{output:?}");
}

#[test]
fn at_a_terminal_there_is_a_prompt_and_the_terminal_is_left_as_it_was() {
    let stage = stage();
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(&size, None::<&nix::sys::termios::Termios>).unwrap();
    let before = nix::sys::termios::tcgetattr(&slave).unwrap();
    let (input, output) = (slave.try_clone().unwrap(), slave.try_clone().unwrap());
    let mut child = command(&stage).stdin(input).stdout(output).spawn().unwrap();
    let mut terminal = std::fs::File::from(master);
    let mut screen = String::new();
    let mut until = |terminal: &mut std::fs::File, end: &str| {
        let start = Instant::now();
        let mut buffer = [0; 4096];
        while !screen.ends_with(end) {
            assert!(start.elapsed() < PATIENCE, "{screen:?}");
            let count = terminal.read(&mut buffer).unwrap();
            screen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        std::mem::take(&mut screen)
    };
    until(&mut terminal, "lb1#");
    terminal.write_all(b"sh ser re\r").unwrap();
    let shown = until(&mut terminal, "lb1#");
    assert!(shown.starts_with("sh ser re\r\nSt: ACT"), "{shown:?}");
    terminal.write_all(b"exit\r").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(nix::sys::termios::tcgetattr(&slave).unwrap().local_flags, before.local_flags);
}
