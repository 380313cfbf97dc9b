//! The monitoring asks without a pause, and the heartbeats go on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lbd::lab::pair::BOXES;

use super::stage::Stage;

const SCRAPERS: usize = 2;
const TIME: Duration = Duration::from_secs(10);

#[test]
fn beside_scrapes_as_many_heartbeats_go_out_and_nobody_takes_over_whose_thread_runs() {
    let stage = Stage::new();
    let owner = stage.settled();
    // Of heartbeats sent on all paths; and what must not be.
    let sent = |stage: &Stage, index: usize| -> u64 {
        stage.says(index, "/paths").as_array().unwrap().iter().map(|path| path["sent"].as_u64().unwrap()).sum()
    };
    let turns = |stage: &Stage| {
        [0, 1].map(|index| ["/became_owner", "/handed_over"].map(|what| stage.says(index, what).as_u64().unwrap()))
    };
    let pauses = |stage: &Stage| [0, 1].map(|index| stage.says(index, "/pauses").as_u64().unwrap());
    let (begin, turns_before) = ([0, 1].map(|index| sent(&stage, index)), turns(&stage));
    let pauses_before = pauses(&stage);
    std::thread::sleep(TIME);
    let before = [0, 1].map(|index| sent(&stage, index));
    let stop = Arc::new(AtomicBool::new(false));
    let scraped = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for name in BOXES {
        for _ in 0..SCRAPERS {
            let (host, stop, scraped) = (stage.site.site.host(name).unwrap().clone(), stop.clone(), scraped.clone());
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let scrape = || -> std::io::Result<String> {
                        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], 8080)))?;
                        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
                        let mut reply = String::new();
                        stream.read_to_string(&mut reply)?;
                        Ok(reply)
                    };
                    let reply = host.enter(scrape).unwrap().unwrap();
                    assert!(reply.contains("\nlbd_pair_owner "), "{reply}");
                    scraped.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }
    std::thread::sleep(TIME);
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(scraped.load(Ordering::Relaxed) > 100, "{scraped:?} scrapes");
    for (index, name) in BOXES.iter().enumerate() {
        let (quiet, scraped) = (before[index] - begin[index], sent(&stage, index) - before[index]);
        // Those that came while numbers were read: some.
        assert!(scraped * 10 >= quiet * 9, "{name}: {scraped} heartbeats beside scrapes, {quiet} without");
    }
    // A box whose thread of heartbeats did not run for a while gives up what it owns, as it must, and owns again.
    let (turned, paused) = (turns(&stage) != turns_before, pauses(&stage) != pauses_before);
    assert!(!turned || paused, "takeovers and hand-overs of each: {turns_before:?}, then {:?}", turns(&stage));
    assert!(turned || stage.settled() == owner);
}

/// How long ago the other box was heard, and its data plane answered, as this one tells.
fn silence(stage: &Stage, index: usize) -> (f64, f64) {
    let told = |pointer: &str| stage.says(index, pointer).as_f64().unwrap_or(f64::INFINITY);
    (told("/peer/heard_seconds"), told("/peer_answered_seconds"))
}

/// What the alerts LbdDaemonDead and LbdBoxDead are told by.
#[test]
fn a_dead_daemon_is_told_from_a_dead_box_by_what_its_data_plane_answers() {
    let mut stage = Stage::new();
    let dead = stage.settled();
    let other = 1 - dead;
    stage.kill(dead);
    stage.until_owns(other);
    stage.until("it is silent for long, and its data plane is not", |stage| {
        let (heard, answered) = silence(stage, other);
        heard > 5.0 && answered < 5.0
    });
    // Its data plane went on; now there is no way to it any more.
    stage
        .site
        .site
        .ip(BOXES[dead], "link set up0 down\nlink set x0 down\nlink set p1 down\nlink set p2 down\n")
        .unwrap();
    stage.until("neither is heard", |stage| {
        let (heard, answered) = silence(stage, other);
        heard > 5.0 && answered > 5.0
    });
}
