//! An admin's work by the clients that admins have: a new virtual server is configured, balances, is saved, and taken
//! back. And many of them at once.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use super::conf::Conf;
use super::stage::{PATIENCE, Stage};
use super::talk::{Newcomers, Talkers};

const ADDRESS: &str = "10.1.0.2";
const PASSWORD: &str = "correct horse";
const V: &str = "192.0.2.25:7";
const W: &str = "192.0.2.110:7";

/// With a user who comes by password and by key.
fn stage() -> Stage {
    let conf = Conf::new(3)
        .pool("echo", "members: [pc1, pc2], scheduler: round-robin")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "v", "port: 7, pool: echo, mode: nat");
    let stage = Stage::new(3, &conf);
    let mut keygen = stage.host("pc1").command("ssh-keygen");
    let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(stage.dir().join("key")).status();
    assert!(made.expect("ssh-keygen is missing; `tools/setup.sh test` installs it").success());
    let key = std::fs::read_to_string(stage.dir().join("key.pub")).unwrap();
    let hash = lbd::access::secrets::hash(PASSWORD).unwrap().as_str().to_owned();
    let users = format!("users: {{admin: {{level: 15, secret: \"{hash}\", ssh-keys: [\"{}\"]}}}}", key.trim());
    stage.configure(&conf.head(&users));
    stage.hang_up();
    let begun = Instant::now();
    while !ssh(&stage, &["-n"], "show privilege").output().unwrap().status.success() {
        assert!(begun.elapsed() < PATIENCE, "{}", stage.log());
    }
    stage
}

fn ssh(stage: &Stage, options: &[&str], command: &str) -> std::process::Command {
    let mut ssh = stage.host("pc1").command("ssh");
    ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5"]);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
    ssh.args(options).arg("-i").arg(stage.dir().join("key")).args(["-l", "admin", ADDRESS]);
    if !command.is_empty() {
        ssh.arg(command);
    }
    ssh
}

fn python(stage: &Stage, script: &str, args: &[&str]) {
    let mut python = stage.host("pc1").command("/usr/bin/python3");
    let path = format!("{}/tests/life/clients/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = python.arg(path).args(args).env("HOME", stage.dir()).output().unwrap();
    assert!(output.status.success(), "{script} {args:?}: {output:?}\n{}", stage.log());
}

/// The phases of the work, each by a session of its own.
fn works(stage: &Stage, does: impl Fn(&str)) {
    let client = stage.client().clone();
    let talkers = Talkers::open(&client, V, 40, &[]);
    does("configure");
    stage.wait("it is scheduled", |s| s.find("w/w").is_some() && s.all_scheduled());
    assert!(stage.ask(W, 40).of("pc3") > 0, "it balances");
    does("save");
    assert!(std::fs::read_to_string(stage.config_file()).unwrap().contains("192.0.2.110"));
    assert_eq!(stage.state().0["config"]["unsaved"], false);
    does("back");
    stage.wait("it is gone", |s| s.find("w/w").is_none());
    talkers.all_talk();
    talkers.end();
}

#[test]
fn openssh_at_a_terminal() {
    let stage = stage();
    let key = stage.dir().join("key").display().to_string();
    works(&stage, |phase| python(&stage, "openssh_work.py", &[ADDRESS, &key, phase]));
}

#[test]
fn netmiko_as_a_cisco() {
    let stage = stage();
    works(&stage, |phase| python(&stage, "netmiko_work.py", &[ADDRESS, "cisco_ios", PASSWORD, phase]));
}

#[test]
fn netmiko_as_a_brocade() {
    let stage = stage();
    works(&stage, |phase| python(&stage, "netmiko_work.py", &[ADDRESS, "brocade_fastiron", PASSWORD, phase]));
}

/// PuTTY's client, fed by a script.
#[test]
fn plink_by_a_script() {
    let stage = stage();
    let shown = ssh(&stage, &["-n"], "show ip ssh").output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let fingerprint = shown.split_whitespace().find(|word| word.starts_with("SHA256:")).expect(&shown).to_owned();
    works(&stage, |phase| {
        let script = match phase {
            "configure" => {
                "configure terminal\nserver pool more\nmember pc3\nmember pc1\ncheck type tcp\ncheck interval 200ms\n\
                 check timeout 150ms\nslow-start 0\nserver virtual w\nip-address 192.0.2.110\nservice w\npool more\n\
                 port 7\nmode dsr\nend\n"
            }
            "save" => "write memory\n",
            _ => "configure replace archive 1\n",
        };
        let mut plink = stage.host("pc1").command("plink");
        plink.args(["-batch", "-ssh", "-T", "-l", "admin", "-pw", PASSWORD, "-hostkey", &fingerprint, ADDRESS]);
        plink.env("HOME", stage.dir()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = plink.spawn().expect("plink is missing; `tools/setup.sh test` installs it");
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{phase}: {output:?}\n{}", stage.log());
    });
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Nine look, one pastes 5,000 lines: within 10 s, while nobody loses a packet.
#[test]
fn ten_sessions_of_which_one_pastes_five_thousand_lines() {
    let stage = stage();
    let client = stage.client().clone();
    let talkers = Talkers::open(&client, V, 100, &[]);
    let newcomers = Newcomers::start(&client, V, Duration::from_millis(10));
    let mut paste = String::from("configure terminal\n");
    for n in 0..1_250 {
        let (high, low) = (n / 200, n % 200 + 1);
        write!(paste, "server real r{n}\n ip-address 10.1.{}.{low}\n weight 5\n max-conn {}\n", 1 + high, n + 1)
            .unwrap();
    }
    paste.push_str("end\n");
    let file = stage.dir().join("paste");
    std::fs::write(&file, &paste).unwrap();
    let looking: Vec<_> = (0..9)
        .map(|_| {
            let script = "show server real | count pc\nshow server virtual\nshow running-config | count server real\n";
            let mut child = ssh(&stage, &["-T"], "").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            std::thread::spawn(move || {
                for _ in 0..10 {
                    input.write_all(script.as_bytes()).unwrap();
                    std::thread::sleep(Duration::from_millis(300));
                }
                drop(input);
                child.wait_with_output().unwrap()
            })
        })
        .collect();
    let begun = Instant::now();
    let pasted = ssh(&stage, &["-T"], "").stdin(File::open(&file).unwrap()).output().unwrap();
    let took = begun.elapsed();
    println!("5,000 lines beside nine sessions: {took:?}");
    assert!(pasted.status.success(), "{}\n{}", told(&pasted), stage.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    for session in looking {
        let output = session.join().unwrap();
        assert!(output.status.success() && told(&output).contains("\nv/v "), "{output:?}");
    }
    let count = ssh(&stage, &["-n"], "show running-config | count ^server real").output().unwrap();
    assert!(told(&count).contains("1253"), "{}", told(&count));
    talkers.all_talk();
    talkers.end();
    newcomers.end_all_served();
}
