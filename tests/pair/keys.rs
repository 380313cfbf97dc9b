//! The pair's key is changed while it runs.

use std::time::{Duration, Instant};

use lbd::lab::pair::BOXES;
use lbd::pair::key::{KeyId, new_line};

use super::stage::Stage;

/// Some heartbeats, and an answer of the stream.
const LOOK: Duration = Duration::from_millis(500);

/// Gives one box these keys, the first of which seals. Nothing of it is noticed.
fn give(stage: &Stage, index: usize, lines: &[&str]) {
    stage.site.write_keys(index, &lines.concat()).unwrap();
    stage.block_on(stage.site.api(index).unwrap().reload()).unwrap();
    let sealing: u64 = lines[0].split(' ').next().unwrap().parse().unwrap();
    stage.until("the first key seals, and the other box has seen it", |stage| {
        stage.says(index, "/key") == sealing && stage.says(1 - index, "/peer_key") == sealing
    });
    let start = Instant::now();
    while start.elapsed() < LOOK {
        for index in [0, 1] {
            let standing = stage.standing(index);
            assert!(standing.ready, "{}: {standing:?}\n{}", BOXES[index], stage.log(index));
        }
    }
}

/// Datagrams that did not count, over all paths of both boxes.
fn refused(stage: &Stage) -> u64 {
    let paths = [0, 1].map(|index| stage.says(index, "/paths"));
    let refused = |paths: &serde_json::Value| -> u64 {
        paths.as_array().unwrap().iter().map(|path| path["refused"].as_u64().unwrap()).sum()
    };
    paths.iter().map(refused).sum()
}

#[test]
fn a_key_is_changed_without_a_gap_and_a_mistake_in_the_file_changes_nothing() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    let two = new_line(KeyId(2)).unwrap();
    let old = stage.site.keys(0).unwrap();
    assert!(old.starts_with("1 "), "one key is there, with the number 1");
    let before = refused(&stage);
    for lines in [[&*old, &*two].as_slice(), &[&*two, &*old], &[&*two]] {
        for index in [1 - owner, owner] {
            give(&stage, index, lines);
            assert_eq!(stage.settled(), owner);
        }
    }
    assert_eq!(refused(&stage), before, "heartbeats refused");
    // A mistake in the file changes nothing, and is told.
    stage.site.write_keys(owner, "2 short\n").unwrap();
    stage.block_on(stage.site.api(owner).unwrap().reload()).unwrap();
    stage.until("the mistake is told", |stage| {
        let state = stage.block_on(stage.site.api(owner).unwrap().state()).unwrap();
        state["warnings"].to_string().contains("a key is 64 hexadecimal digits")
    });
    assert_eq!(stage.settled(), owner);
    assert_eq!(refused(&stage), before, "heartbeats refused");
    // By the new key the other box knows that the owner is dead.
    stage.kill(owner);
    stage.until_owns(1 - owner);
}
