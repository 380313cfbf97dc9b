//! The site with two balancers, and what is seen of it from outside.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lbd::lab::customer::{self, Attempt, Held, Tally, Visit};
use lbd::lab::mail::{CLIENT, OFFERS, ROUTER};
use lbd::lab::pair::{BOXES, MACS, PairSite, Standing};
use lbd::lab::servers::Kind;
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

const LBD: &str = env!("CARGO_BIN_EXE_lbd");
/// What is waited for has this long.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// A customer comes this often, of each kind.
pub const PACE: Duration = Duration::from_millis(10);

pub struct Stage {
    pub site: PairSite,
    runtime: Runtime,
}

impl Stage {
    /// Both balancers run; the first owns and the second is ready, or the other way round.
    pub fn new() -> Self {
        Self::with(["", ""])
    }

    /// With further lines in the section `pair` of each box's configuration.
    pub fn with(pair: [&str; 2]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let site = runtime.block_on(async { PairSite::start(Path::new(LBD), pair) }).unwrap();
        let mut stage = Self { site, runtime };
        stage.start(0);
        stage.start(1);
        stage.settled();
        stage
    }

    pub fn start(&mut self, index: usize) {
        self.site.start_balancer(index).unwrap();
    }

    /// Waits for one owner whose other box is ready and has been told all; the owner.
    pub fn settled(&self) -> usize {
        let settled = self.runtime.block_on(self.site.settled(PATIENCE));
        settled.unwrap_or_else(|why| panic!("{why}\n{}\n{}", self.log(0), self.log(1)))
    }

    /// Waits until this box owns.
    pub fn until_owns(&self, index: usize) {
        let owns = self.runtime.block_on(self.site.until_owns(index, PATIENCE));
        owns.unwrap_or_else(|why| panic!("{why}\n{}\n{}", self.log(0), self.log(1)));
    }

    /// A field of the state's `pair`.
    pub fn says(&self, index: usize, pointer: &str) -> serde_json::Value {
        let state = self.block_on(self.site.api(index).unwrap().state());
        state
            .ok()
            .and_then(|state| state.pointer(&format!("/pair{pointer}")).cloned())
            .unwrap_or(serde_json::Value::Null)
    }

    /// Waits until it is so.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            let state = [0, 1].map(|index| self.says(index, ""));
            assert!(start.elapsed() < PATIENCE, "{what}: {state:#?}\n{}\n{}", self.log(0), self.log(1));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The box whose uplink is open.
    pub fn uplink(&self) -> usize {
        usize::from(self.standing(1).uplink_open)
    }

    pub fn standing(&self, index: usize) -> Standing {
        self.runtime.block_on(self.site.standing(index))
    }

    pub fn signal(&mut self, index: usize, signal: Signal) {
        self.site.balancer(index).unwrap().process().signal(signal).unwrap();
    }

    pub fn kill(&mut self, index: usize) {
        self.site.balancer(index).unwrap().process().kill().unwrap();
    }

    pub fn hand_over(&self, index: usize) {
        self.runtime.block_on(self.site.api(index).unwrap().hand_over()).unwrap();
    }

    /// Does what wants the stage's runtime, such as to ask an API.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn log(&self, index: usize) -> String {
        let text = std::fs::read_to_string(lbd::lab::balancer::log_of(&self.site.site, BOXES[index]));
        format!("== {}:\n{}", BOXES[index], text.unwrap_or_default())
    }

    /// MAC that the router finds anew for a virtual address; `None` if nobody answers.
    pub fn who_answers(&self, vip: &str) -> Option<usize> {
        let router = self.site.site.host(ROUTER).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let mut command = router.command(program);
            String::from_utf8(command.args(arguments).output().unwrap().stdout).unwrap()
        };
        run("ip", &["neigh", "flush", "to", vip]);
        let (to, host) = (format!("{vip}:9"), router.clone());
        host.enter(move || std::net::UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"who", to)).unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let entry = run("ip", &["neigh", "show", vip]);
        MACS.iter().position(|mac| entry.contains(mac))
    }

    /// Customers of mail (DSR) and mailboxes (NAT), IPv4 and IPv6, while `act` acts.
    pub fn watch(&mut self, act: impl FnOnce(&mut Self)) -> Vec<Stream> {
        let stop = Arc::new(AtomicBool::new(false));
        let client = self.site.site.host(CLIENT).unwrap().clone();
        let watching: Vec<_> = targets()
            .into_iter()
            .map(|(kind, target, name)| {
                let (stop, client) = (stop.clone(), client.clone());
                let mut visit = Visit::new(kind, target).times(1_000_000);
                visit.timeout = Duration::from_secs(2);
                let attempts = self
                    .runtime
                    .spawn(async move { client.run(move || customer::watch(visit, PACE, stop)).await.unwrap() });
                (name, attempts)
            })
            .collect();
        act(self);
        stop.store(true, Ordering::Relaxed);
        let end = |attempts: tokio::task::JoinHandle<Vec<Attempt>>| self.runtime.block_on(attempts).unwrap();
        watching.into_iter().map(|(name, attempts)| Stream { name, attempts: end(attempts) }).collect()
    }

    /// Opens so many connections of each kind.
    pub fn hold(&self, count: usize) -> Vec<Held> {
        let client = self.site.site.host(CLIENT).unwrap().clone();
        let mut held = Vec::new();
        for (kind, target, name) in targets() {
            let visit = Visit::new(kind, target).times(count);
            let client = client.clone();
            let opened = self.runtime.block_on(async move { client.run(move || customer::hold(visit)).await.unwrap() });
            held.extend(opened.unwrap_or_else(|why| panic!("{name}: {why}")));
        }
        held
    }

    pub fn check(&self, held: Vec<Held>) -> (Vec<Held>, Tally) {
        let client = self.site.site.host(CLIENT).unwrap().clone();
        self.runtime
            .block_on(async move { client.run(move || customer::check(held, Duration::from_secs(3))).await.unwrap() })
    }
}

fn targets() -> Vec<(Kind, std::net::SocketAddr, String)> {
    let offers = OFFERS.iter().filter(|offer| [Kind::Smtp, Kind::Imap].contains(&offer.kind));
    offers
        .flat_map(|offer| {
            [offer.address4(), offer.address6()].map(|target| (offer.kind, target, format!("{} {target}", offer.mode)))
        })
        .collect()
}

/// What the customers of one address lived through.
pub struct Stream {
    pub name: String,
    pub attempts: Vec<Attempt>,
}

impl Stream {
    pub fn failed(&self) -> usize {
        self.attempts.iter().filter(|attempt| attempt.outcome.is_err()).count()
    }

    /// The longest time from one good answer to the next, and when it began, from the first attempt.
    pub fn silence(&self) -> (Duration, Duration) {
        let end = self.attempts.last().expect("some have come").started;
        let good = self.attempts.iter().filter(|attempt| attempt.outcome.is_ok()).map(|attempt| attempt.ended);
        // Later answers are of those who were still under way when nobody came any more.
        let mut good: Vec<Instant> = good.filter(|ended| *ended < end).chain([end]).collect();
        good.sort();
        let longest = good.windows(2).max_by_key(|pair| pair[1] - pair[0]).expect("some are answered");
        let first = self.attempts.first().expect("some have come").started;
        (longest[1] - longest[0], longest[0].saturating_duration_since(first))
    }

    pub fn why(&self) -> Vec<&String> {
        self.attempts.iter().filter_map(|attempt| attempt.outcome.as_ref().err()).take(5).collect()
    }
}
