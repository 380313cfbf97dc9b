//! What it costs to ask ten thousand targets every two seconds.
//!
//! Prober and servers are processes of their own in network namespaces of their own ([`stage`]). What is counted is
//! the prober's CPU time, kernel included: as a share of one core, and by connection, since on a busy machine neither
//! prober keeps its pace.
//!
//! - lbd and HAProxy (one thread) in turn: TCP connections, and SMTP up to the answer to EHLO and QUIT.
//! - lbd alone: a mix of protocols, half of the targets behind virtual addresses, of which one in twenty hangs.
//!
//! `cargo bench --bench probes -- [--seconds 20] [--rounds 3] [--targets 10000] [tcp smtp mix]`

mod haproxy;
mod prober;
mod responder;
mod stage;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use haproxy::Haproxy;
use lbd::lab::Site;
use prober::Load;
use stage::{PROBER, SERVERS, Segments};

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
/// Time until a prober has found its rhythm.
const WARM_UP: Duration = Duration::from_secs(6);
/// The stage has addresses for no more.
const TARGETS_MAX: u16 = 10_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["respond"] => responder::respond(),
        ["probe", load, count, password_file] => prober::probe(load, count.parse()?, password_file),
        _ => measure(&Plan::of(&arguments)?),
    }
}

struct Plan {
    window: Duration,
    rounds: usize,
    targets: u16,
    loads: Vec<Load>,
}

impl Plan {
    fn of(arguments: &[String]) -> Result<Self> {
        let mut plan = Self { window: Duration::from_secs(20), rounds: 3, targets: TARGETS_MAX, loads: Vec::new() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a number"));
            match word.as_str() {
                "--seconds" => plan.window = Duration::from_secs(value()?.parse()?),
                "--rounds" => plan.rounds = value()?.parse()?,
                "--targets" => plan.targets = value()?.parse()?,
                load => plan.loads.push(Load::named(load)?),
            }
        }
        ensure!(plan.rounds > 0 && !plan.window.is_zero(), "a measurement takes time");
        ensure!((1..=TARGETS_MAX).contains(&plan.targets), "1 to {TARGETS_MAX} targets");
        if plan.loads.is_empty() {
            plan.loads = vec![Load::Tcp, Load::Smtp, Load::Mix];
        }
        Ok(plan)
    }
}

fn measure(plan: &Plan) -> Result<()> {
    lbd::lab::process::raise_file_limit()?;
    let site = stage::build()?;
    let mut responder = Helper::start(stage::this_program(&site, SERVERS, &["respond"])?)?;
    ensure!(responder.line()? == "ready\n", "the servers have not started");
    println!("{} targets, each asked every {INTERVAL:?}; {:?} a measurement", plan.targets, plan.window);
    println!("{}", machine()?);
    for load in &plan.loads {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..plan.rounds {
            // Who comes first changes: what else the machine does changes meanwhile.
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    ours.push(lbd(*load, plan, &site)?);
                } else if *load != Load::Mix {
                    theirs.push(haproxy(*load, plan, &site)?);
                }
            }
        }
        if !theirs.is_empty() {
            let median = |costs: &[Cost], of: fn(&Cost) -> f64| median(costs.iter().map(of).collect());
            let [ours, theirs] = [ours, theirs].map(|costs| [median(&costs, |c| c.share), median(&costs, |c| c.each)]);
            println!(
                "{:5} medians: lbd {:.1} %, {:.1} µs; HAProxy {:.1} %, {:.1} µs; of HAProxy's CPU time for a connection lbd takes {:.2}\n",
                load.name(),
                ours[0] * 100.0,
                ours[1],
                theirs[0] * 100.0,
                theirs[1],
                ours[1] / theirs[1]
            );
        }
    }
    println!("{}", machine()?);
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Kernel, processors, load.
fn machine() -> Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = std::thread::available_parallelism()?;
    Ok(format!("Linux {}, {processors} processors, load {load}", kernel.trim_end()))
}

/// What a prober took.
#[derive(Clone, Copy)]
struct Cost {
    /// Of one core.
    share: f64,
    /// CPU time for a connection, µs.
    each: f64,
}

/// Measures a prober in its rhythm.
fn window(name: &str, load: Load, plan: &Plan, process: i32, site: &Site) -> Result<Cost> {
    let (before, at, counted) = (cpu(process)?, Instant::now(), Segments::now(site)?);
    std::thread::sleep(plan.window);
    let (after, took, total) = (cpu(process)?, at.elapsed(), Segments::now(site)?);
    let used = (after - before).as_secs_f64();
    let opened = (total.opened - counted.opened) as f64;
    let cost = Cost { share: used / took.as_secs_f64(), each: used * 1e6 / opened };
    println!(
        "{:5} {name:8} {:5.1} % of a core; {:.0} connections/s, each {:.1} µs, {:.1} segments out, {:.1} in",
        load.name(),
        cost.share * 100.0,
        opened / took.as_secs_f64(),
        cost.each,
        (total.out - counted.out) as f64 / opened,
        (total.inward - counted.inward) as f64 / opened,
    );
    Ok(cost)
}

fn lbd(load: Load, plan: &Plan, site: &Site) -> Result<Cost> {
    let password = site.dir().join("password");
    std::fs::write(&password, "secret\n")?;
    let password = password.to_str().context("a path that is no text")?;
    let arguments = ["probe", load.name(), &plan.targets.to_string(), password];
    let mut prober = Helper::start(stage::this_program(site, PROBER, &arguments)?)?;
    std::thread::sleep(WARM_UP);
    let before = Told::of(&prober.ask()?)?;
    let cost = window("lbd", load, plan, prober.pid(), site)?;
    let now = Told::of(&prober.ask()?)?;
    let failed: Vec<String> = now
        .failed
        .iter()
        .map(|(kind, count)| (kind, count - before.failed.iter().find(|(k, _)| k == kind).map_or(0, |(_, c)| *c)))
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let [p50, p99, max] = now.late;
    println!(
        "      {} succeeded, failed: {}; {} put off; {} up; lateness since the start p50 {p50} µs, p99 {p99} µs, max {max} µs",
        now.good - before.good,
        if failed.is_empty() { "none".to_owned() } else { failed.join(", ") },
        now.put_off,
        now.up,
    );
    Ok(cost)
}

fn haproxy(load: Load, plan: &Plan, site: &Site) -> Result<Cost> {
    let haproxy = Haproxy::start(site, load, plan.targets)?;
    std::thread::sleep(WARM_UP);
    let cost = window("HAProxy", load, plan, haproxy.pid(), site)?;
    println!("      {} up", haproxy.up()?);
    Ok(cost)
}

/// What the prober says of itself.
struct Told {
    good: u64,
    put_off: u64,
    up: u64,
    /// p50, p99, max, µs.
    late: [u64; 3],
    failed: Vec<(String, u64)>,
}

impl Told {
    fn of(line: &str) -> Result<Self> {
        let (mut numbers, mut failed) = (Vec::new(), Vec::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((kind, count)) => failed.push((kind.to_owned(), count.parse()?)),
                None => numbers.push(word.parse()?),
            }
        }
        let [good, put_off, up, p50, p99, max] = numbers[..] else { bail!("the prober said: {line}") };
        Ok(Self { good, put_off, up, late: [p50, p99, max], failed })
    }
}

/// CPU time of a process so far, all its threads.
fn cpu(process: i32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let nanos = text.split_whitespace().next().context("an empty schedstat")?;
        total += Duration::from_nanos(nanos.parse()?);
    }
    Ok(total)
}

/// A process of ours that answers lines; it ends with its input, or with us.
struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Helper {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, input, output })
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "a process of the bench has ended");
        Ok(line)
    }

    fn ask(&mut self) -> Result<String> {
        self.input.as_mut().context("no input")?.write_all(b"\n")?;
        self.line()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.input.take());
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
