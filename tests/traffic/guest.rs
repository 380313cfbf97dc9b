//! Debian 12's own kernel, for what the kernel of this machine may lack.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use lbd::lab::{Plan, Site};

use super::stage::LBD;

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/run.sh");
/// Of an emulated processor on a machine that builds other things meanwhile.
const SECONDS: &str = "300";

/// Runs `body` if this kernel makes VLAN interfaces (8021q); else has this program run the same test under qemu, on
/// a kernel that does. `test` is its name as the harness has it.
pub fn where_there_are_vlans(test: &str, body: impl FnOnce()) {
    let mut plan = Plan::new();
    plan.cable("one:eth0", "two:eth0").ip("one", "link add link eth0 name eth0.7 type vlan id 7");
    if Site::build(&plan).is_ok() { body() } else { on_debians_kernel(test) }
}

fn on_debians_kernel(test: &str) {
    // One at a time: a guest takes the memory and the processors of a machine.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let program = std::env::current_exe().unwrap();
    // There, too, lbd is where it was built.
    let script = r#"mkdir -p "${1%/*}" && ln -s /payload/lbd "$1" && exec "./$2" --exact "$3" --nocapture"#;
    let output = Command::new(RUN)
        .args(["--boot-timeout", SECONDS, "--timeout", SECONDS, LBD])
        .arg(&program)
        .args(["--", "sh", "-c", script, "sh", LBD])
        .arg(program.file_name().unwrap())
        .arg(test)
        .output()
        .unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && out.contains("test result: ok. 1 passed"), "{out}\n{err}");
}
