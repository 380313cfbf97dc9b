//! The appliance among other programs: its directories, its end, and where it cannot run.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use lbd::lab::mail::BALANCER;

use super::conf::echo;
use super::stage::{LBD, Stage, until};
use super::talk::Talkers;

const V: &str = "192.0.2.25:7";

/// A further `lbd run` in the balancer's network that is expected to end by itself.
fn run_again(stage: &Stage, wrapper: &[&str], run_dir: &Path) -> Output {
    let mut words = wrapper.to_vec();
    words.push(LBD);
    let mut command = stage.host(BALANCER).command(words[0]);
    command.args(&words[1..]).arg("run").arg("--config").arg(stage.config_file());
    command.arg("--state-dir").arg(stage.dir().join("state")).arg("--run-dir").arg(run_dir);
    command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    bounded(command)
}

/// Waits for its end, which must come.
fn bounded(mut command: Command) -> Output {
    let mut child = command.spawn().unwrap();
    let deadline = std::time::Instant::now() + super::stage::PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if std::time::Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it runs on: {:?}", child.wait_with_output());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// `lbd stop`.
fn stop(stage: &Stage) -> Output {
    let mut command = stage.host(BALANCER).command(LBD);
    command.arg("stop").arg("--run-dir").arg(stage.dir().join("run"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    bounded(command)
}

/// What it says when it refuses: the lines of standard error.
fn refusal(output: &Output) -> Vec<String> {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}

fn mounts(stage: &Stage) -> usize {
    let dir = stage.bpf_dir();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(dir.to_str().unwrap())).count()
}

/// Whether the program is on any port of the balancer.
fn has_xdp(stage: &Stage) -> bool {
    let links = stage.run(BALANCER, "ip", &["-o", "link"]);
    let net = stage.run(BALANCER, "bpftool", &["net"]);
    assert_eq!(links.contains("xdp"), net.contains("up0"), "{links}\n{net}");
    links.contains("xdp")
}

#[test]
fn a_stopped_daemon_leaves_the_traffic_alone_and_stop_ends_it_all() {
    let mut conf = echo(2, "nat");
    conf = conf.virtual_server("w", &["192.0.2.110"]).service("w", "echo", "port: 7, pool: echo, mode: dsr");
    let mut stage = Stage::new(2, &conf);
    let talkers = [V, "192.0.2.110:7"].map(|target| Talkers::open(stage.client(), target, 20, &[]));
    assert!(stage.stop_balancer().success(), "SIGTERM");
    assert!(stage.log().contains("the data plane goes on"), "{}", stage.log());
    for talkers in &talkers {
        talkers.all_talk();
        talkers.none_is_lost();
    }
    for target in [V, "192.0.2.110:7"] {
        assert_eq!(stage.ask(target, 20).served_count(), 20);
    }
    assert!(has_xdp(&stage) && mounts(&stage) == 1);

    // While a daemon runs there is nothing to stop: what it holds would go with it, and its connections too.
    stage.start();
    let said = refusal(&stop(&stage));
    assert!(said.len() == 1 && said[0].contains("another lbd runs with"), "{said:?}");
    assert!(has_xdp(&stage) && mounts(&stage) == 1);
    stage.kill_balancer();
    for talkers in talkers {
        talkers.end();
    }

    let output = stop(&stage);
    assert!(output.status.success(), "{output:?}");
    until("no port has the program", || !has_xdp(&stage));
    assert_eq!(mounts(&stage), 0, "nor is anything mounted");
    assert_eq!(fs::read_dir(stage.bpf_dir()).map_or(0, Iterator::count), 0, "or pinned");

    assert!(stop(&stage).status.success(), "where there is nothing, nothing is left to do");

    // And it can begin anew.
    stage.start();
    stage.wait("in service", |s| s.0["adopted"] == false && s.all_scheduled());
    assert_eq!(stage.ask(V, 20).served_count(), 20);
}

#[test]
fn two_appliances_run_at_once_and_a_second_one_on_the_same_directory_does_not() {
    let (one, two) = (Stage::new(1, &echo(1, "nat")), Stage::new(1, &echo(1, "nat")));
    for stage in [&one, &two] {
        assert_eq!(stage.ask(V, 10).of("pc1"), 10);
    }
    let said = refusal(&run_again(&one, &["env"], &one.dir().join("run")));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("another lbd runs with") && said[0].contains("--run-dir"), "{said:?}");
    drop(two);
    assert_eq!(one.ask(V, 10).of("pc1"), 10, "nobody was disturbed");
}

#[test]
fn in_private_mounts_it_does_not_start_unless_a_bpffs_is_there_and_says_how() {
    let mut stage = Stage::new(1, &echo(1, "nat"));
    stage.stop_balancer();
    let namespace = stage.host(BALANCER).namespace().to_owned();
    let enter = ["ip", "netns", "exec", namespace.as_str()];
    let run_dir = stage.dir().join("other");
    let said = refusal(&run_again(&stage, &enter, &run_dir)).join("\n");
    for word in ["private mount namespace", "mount -t bpf", "nsenter --net"] {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    // What it proposes works: here the directory of the first daemon, whose bpffs is mounted outside.
    let mut command = stage.host(BALANCER).command("ip");
    command.args(&enter[1..]).arg(LBD).arg("run").arg("--config").arg(stage.config_file());
    command.arg("--state-dir").arg(stage.dir().join("state")).arg("--run-dir").arg(stage.dir().join("run"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = stage.site.start(BALANCER, command).unwrap();
    stage.wait("in service", |s| s.0["adopted"] == true && s.all_scheduled());
    process.stop().unwrap();
    assert_eq!(stage.ask(V, 10).of("pc1"), 10, "and its data plane outlives it");
}

#[test]
fn without_root_it_says_so_in_one_line() {
    let mut stage = Stage::new(1, &echo(1, "nat"));
    stage.stop_balancer();
    // Where nobody may read and write: the program and its directories.
    let dir = std::env::temp_dir().join(format!("lbd-life-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let program = dir.join("lbd");
    fs::copy(LBD, &program).unwrap();
    let config = dir.join("lb.yaml");
    fs::write(&config, echo(1, "nat").text()).unwrap();
    let dir_text = dir.to_str().unwrap();
    assert!(Command::new("chown").args(["-R", "nobody", dir_text]).status().unwrap().success());
    let mut command = stage.host(BALANCER).command("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(&program);
    command.arg("run").arg("--config").arg(&config).arg("--state-dir").arg(dir.join("state"));
    command.arg("--run-dir").arg(dir.join("run"));
    command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = bounded(command);
    fs::remove_dir_all(&dir).unwrap();
    let said = refusal(&output);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("root"), "{said:?}");
}
