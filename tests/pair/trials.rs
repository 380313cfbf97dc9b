//! Every fault three times, with 5,000 connections open, customers and newcomers under way. `make bench-pair` does it a
//! hundred times each and judges the figures; here nothing may be lost, nobody left unserved, and nobody may own twice.

use std::path::Path;
use std::time::Duration;

use lbd::lab::pair::PairSite;
use lbd::lab::pair::record::{self, Record};
use lbd::lab::pair::trial::{Fault, Stage};
use lbd::lab::process::raise_file_limit;

const CONNECTIONS: usize = 5_000;
const TRIALS: usize = 3;
/// What the machine of the test adds: it has two cores for all of the site, and other tests beside this one.
const SLACK: Duration = Duration::from_millis(400);

#[test]
fn no_fault_loses_a_connection_that_has_a_path_or_makes_two_owners() {
    raise_file_limit().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let seed = std::env::var("LBD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    let mut record = Record::default();
    let mut wrong = Vec::new();
    runtime.block_on(async {
        let site = PairSite::start(Path::new(env!("CARGO_BIN_EXE_lbd")), ["", ""]).unwrap();
        let mut stage = Stage::set(site, CONNECTIONS, seed).await.unwrap();
        for fault in [Fault::ALL; TRIALS].concat() {
            let seen = stage.suffer(fault).await.unwrap_or_else(|why| panic!("{fault}: {why:#}"));
            let line = record::line(&seen);
            println!("{fault}: {line}");
            let doubled = seen.two_owners + seen.returns + seen.late_frames;
            // Whoever is sent to a server of the dead box, which nobody has noticed yet, waits longer than the test does.
            let unserved = if fault == Fault::PowerOff { 0 } else { seen.failed };
            let forgotten = seen.gone.iter().filter(|gone| gone.back_after.is_none()).count();
            if seen.lost.len() + doubled + seen.black_holes + unserved + forgotten > 0
                || seen.silence_new > fault.promised(false) + SLACK
            {
                wrong.push(format!("{fault}: {line}"));
            }
            record.add((fault, false), seen);
        }
    });
    println!("{}", record.table());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
