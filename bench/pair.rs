//! Every fault of a pair many times over, with 5,000 connections open: what customers notice, as figures.
//!
//! `make bench-pair`. Needs root. It prints each trial as it ends, then a table; the exit code says whether all promises
//! were kept. A trial's order of cables is drawn from the seed that is printed.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use lbd::lab::balancer::log_of;
use lbd::lab::pair::record::{self, Record};
use lbd::lab::pair::trial::{Fault, Stage};
use lbd::lab::pair::{BOXES, PairSite};
use lbd::lab::process::raise_file_limit;

const LBD: &str = env!("CARGO_BIN_EXE_lbd");
/// 20 and 100 ms instead of 50 and 250.
const FAST: &str = "  heartbeat: 20ms\n  dead: 100ms\n";

#[derive(Parser)]
struct Options {
    /// Of each fault.
    #[arg(long, default_value_t = 100)]
    trials: usize,
    /// Connections that are open meanwhile.
    #[arg(long, default_value_t = 5_000)]
    connections: usize,
    /// Faults, all by default: nothing, kill, hang, power-off, uplink-cut, cross-cut, hand-over.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Faults with the fast timers (20 and 100 ms).
    #[arg(long, value_delimiter = ',', default_values_t = [Fault::PowerOff])]
    fast: Vec<Fault>,
    /// With the default timers alone.
    #[arg(long)]
    no_fast: bool,
    /// With the fast timers alone.
    #[arg(long, conflicts_with = "no_fast")]
    only_fast: bool,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What cargo says to benchmarks.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    raise_file_limit()?;
    let faults = if options.faults.is_empty() { Fault::ALL.to_vec() } else { options.faults.clone() };
    let mut record = Record::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("seed {}", options.seed);
    let mut ended =
        if options.only_fast { Ok(()) } else { runtime.block_on(run(&options, &faults, false, &mut record)) };
    if ended.is_ok() && !options.no_fast {
        ended = runtime.block_on(run(&options, &options.fast, true, &mut record));
    }
    println!("\n{}", record.table());
    // A trial after which the pair does not come to rest ends it all: that is a finding, too.
    let broken: Vec<String> = record.broken().into_iter().chain(ended.err().map(|why| format!("{why:#}"))).collect();
    for words in &broken {
        println!("NOT AS PROMISED  {words}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All trials on one site.
async fn run(options: &Options, faults: &[Fault], fast: bool, record: &mut Record) -> anyhow::Result<()> {
    let start = Instant::now();
    let lines = if fast { FAST } else { "" };
    let site = PairSite::start(Path::new(LBD), [lines, lines])?;
    let mut stage = Stage::set(site, options.connections, options.seed).await?;
    println!("the site is up, with {:?} connections open", stage.crowd.places());
    for trial in 1..=options.trials {
        for fault in faults {
            let sighting = match stage.suffer(*fault).await {
                Ok(sighting) => sighting,
                Err(why) => {
                    print_logs(&stage.site);
                    return Err(why.context(format!("trial {trial} of {fault}")));
                }
            };
            let name = record::name((*fault, fast));
            println!(
                "{:6.0} s  {trial:>3}/{} {name:16} {}",
                start.elapsed().as_secs_f32(),
                options.trials,
                record::line(&sighting)
            );
            if sighting.unordered > 0 || !sighting.lost.is_empty() {
                print_logs(&stage.site);
            }
            record.add((*fault, fast), sighting);
        }
    }
    Ok(())
}

/// What both boxes have said since they booted.
fn print_logs(site: &PairSite) {
    for name in BOXES {
        let log = std::fs::read_to_string(log_of(&site.site, name)).unwrap_or_default();
        println!("== {name}:\n{log}");
    }
}
