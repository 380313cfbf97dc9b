//! Times that a box cannot keep.

use std::path::Path;
use std::process::Stdio;

use lbd::lab::pair::{BOXES, PairSite};

const FAST: &str = "  heartbeat: 20ms\n  dead: 100ms\n";

/// Starts `lbd run` on the first box without a capability, and expects it to refuse; its words.
fn refusal_without(site: &PairSite, capability: &str) -> String {
    let dir = site.site.dir();
    let mut command = site.site.host(BOXES[0]).unwrap().command("setpriv");
    command.args([&format!("--bounding-set=-{capability}"), "--inh-caps=-all", env!("CARGO_BIN_EXE_lbd"), "run"]);
    command.arg("--config").arg(site.config_file(0)).arg("--state-dir").arg(dir.join("state"));
    command.arg("--run-dir").arg(dir.join("run")).stdin(Stdio::null()).env("NO_COLOR", "1");
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(!dir.join("run/bpf").exists(), "nothing was done yet");
    words
}

#[test]
fn a_daemon_that_may_stall_refuses_the_fast_timers_and_names_what_it_lacks() {
    let site = PairSite::start(Path::new(env!("CARGO_BIN_EXE_lbd")), [FAST, FAST]).unwrap();
    for (capability, name) in [("sys_nice", "CAP_SYS_NICE"), ("ipc_lock", "CAP_IPC_LOCK")] {
        let words = refusal_without(&site, capability);
        for expected in ["`pair.dead` of 100 ms", name, "`dead: 400ms`"] {
            assert!(words.contains(expected), "{expected}: {words}");
        }
    }
}
