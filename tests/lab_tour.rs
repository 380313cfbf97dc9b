//! `lbd lab --tour` with the balancer: what it says is so, and it notices when it is not. Needs root.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};

use lbd::lab::claim::namespaces_of;

fn tour() -> Child {
    Command::new(env!("CARGO_BIN_EXE_lbd"))
        .args(["lab", "--tour"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// All that it said from here on, and how it ended.
fn the_end(mut child: Child, said: &mut String) -> ExitStatus {
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let status = child.wait().unwrap();
    said.push_str(&errors);
    assert_eq!(namespaces_of(&child.id().to_string()).unwrap().len(), 0, "it leaves nothing");
    assert!(!std::path::Path::new("/run/lbd-lab").join(child.id().to_string()).exists());
    status
}

#[test]
fn all_that_the_tour_says_is_so() {
    let mut child = tour();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let status = the_end(child, &mut said);
    assert!(status.success(), "{said}");
    assert!(!said.contains("[NOT SO]") && said.contains("All of it was so: "), "{said}");
    assert!(!said.contains('\u{1b}'), "no progress display without a terminal: {said}");
}

#[test]
fn a_tour_of_a_site_with_a_pulled_cable_says_what_is_not_so_and_fails() {
    let mut child = tour();
    let namespace = format!("lbd-{}-pc1", child.id());
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("== Balance") {
            let pulled = Command::new("ip").args(["-n", &namespace, "link", "set", "eth0", "down"]).status().unwrap();
            assert!(pulled.success());
        }
        said.push_str(&line);
        said.push('\n');
    }
    let status = the_end(child, &mut said);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("[NOT SO]"), "{said}");
}
