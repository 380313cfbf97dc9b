//! lbd's side: its executor with ten thousand targets, as the daemon has it, and the daemon's record of what it hears.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use lbd::config::probe::{DnsProbe, Login, MailboxProbe, SmtpProbe, TlsOptions};
use lbd::config::{Check, Limits, Name, Probe, XdpMode};
use lbd::core::check::{State, Verdict};
use lbd::core::forwarding::{Family, ForwardingState, Port};
use lbd::core::marks::{self, Marks, ProbePlace};
use lbd::core::moment::Moment;
use lbd::core::network::Place;
use lbd::core::schedule_probes::next_in_doubt;
use lbd::core::target::{Health, Pace, Question, Target, Via};
use lbd::dataplane::DataPlane;
use lbd::health::executor::{Answer, Executor, Wanted};
use lbd::health::transport::Marked;
use lbd::os::clock;
use lbd::os::netlink::ProbeRoute;
use nix::net::if_::if_nametoindex;

use super::responder::{DNS, IMAP, SILENT, SMTP, TCP, TLS};
use super::stage;
use super::{INTERVAL, TIMEOUT};

/// Which targets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    Tcp,
    Smtp,
    Mix,
}

impl Load {
    pub fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "tcp" => Self::Tcp,
            "smtp" => Self::Smtp,
            "mix" => Self::Mix,
            other => bail!("'{other}': say tcp, smtp or mix"),
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Smtp => "smtp",
            Self::Mix => "mix",
        }
    }
}

/// In the mix each server is asked by five protocols, at its own address and at a virtual one.
const MIX_PER_SERVER: u16 = 10;
/// One server in so many of the mix hangs.
const HANGS_EVERY: u16 = 20;

/// Target `number` of the mix.
fn mixed(number: u16, password_file: &str) -> Result<Question> {
    let (server, kind, dsr) = (number / MIX_PER_SERVER, number % 5, number % MIX_PER_SERVER >= 5);
    let hangs = server % HANGS_EVERY == HANGS_EVERY - 1;
    let login = || Login { user: "probe".into(), password_file: PathBuf::from(password_file) };
    let (probe, port) = match kind {
        0 => (Probe::Tcp, TCP),
        1 => (Probe::Smtp(SmtpProbe::default()), SMTP),
        2 => (Probe::Tls(TlsOptions::default()), TLS),
        3 => (Probe::Imap(MailboxProbe { login: Some(login()), ..MailboxProbe::default() }), IMAP),
        _ => (Probe::Dns(DnsProbe::default()), DNS),
    };
    // What hangs at a TCP probe is the connection itself; at the others the server is there and silent.
    let (address, port) = match (hangs, &probe, dsr) {
        (true, Probe::Tcp, false) => (stage::dead(server), port),
        (true, Probe::Tcp, true) => (stage::dead_vip(server), port),
        (_, _, dsr) => (if dsr { stage::vip(server) } else { stage::own(server) }, if hangs { SILENT } else { port }),
    };
    let name = Name::new(&format!("pc{server}")).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let via = dsr.then(|| Via { server: name, address: stage::own(server).into() });
    Ok(Question { address: (address, port).into(), via, probe: probe.into() })
}

fn targets(load: Load, count: u16, password_file: &str) -> Result<BTreeSet<Target>> {
    let pace = Pace::of(&Check { interval: INTERVAL, timeout: TIMEOUT, ..Check::default() });
    let plain = |number, port, probe| Question {
        address: (stage::own(number), port).into(),
        via: None,
        probe: Arc::new(probe),
    };
    (0..count)
        .map(|number| {
            let question = match load {
                Load::Tcp => plain(number, TCP, Probe::Tcp),
                Load::Smtp => plain(number, SMTP, Probe::Smtp(SmtpProbe::default())),
                Load::Mix => mixed(number, password_file)?,
            };
            Ok(Target { question, pace })
        })
        .collect()
}

/// The way of probes to servers behind virtual addresses, and the data plane on the port by which they leave.
async fn way_behind_virtual_addresses(marks: &Marks, wanted: &BTreeSet<marks::Marked>) -> Result<DataPlane> {
    let port = if_nametoindex(stage::PORT)?;
    let mut state = ForwardingState::default();
    state.ports.insert(port, Port { mac: stage::PORT_MAC, forwarding: true, running: true });
    state.vips.extend((0..stage::SERVERS_MAX).map(|server| IpAddr::from(stage::vip(server))));
    let limits = Limits { connections: 1024, embryonic: 1024, ..Limits::default() };
    let mut plane = DataPlane::load(&limits, None)?;
    plane.apply(&state, &BTreeMap::from([(port, stage::PORT.to_owned())]), XdpMode::Auto)?;
    plane.own_alone();
    let place = ProbePlace { to: Place { mac: stage::SERVERS_MAC, port, vlan: 0 }, own: stage::PORT_MAC };
    let all = wanted.iter().filter_map(|(server, family)| marks.mark(server, *family));
    plane.set_probe_places(&all.map(|mark| (mark, place)).collect())?;
    let link = ProbeRoute::open()?.ensure(&BTreeMap::from([(Family::V4, Some(stage::SOURCE))])).await?;
    plane.attach_probe(link)?;
    Ok(plane)
}

/// The prober's process: asks, and at each line of its input tells how it goes.
pub fn probe(load: &str, count: u16, password_file: &str) -> Result<()> {
    let load = Load::named(load)?;
    let targets = targets(load, count, password_file)?;
    let wanted_marks = marks::wanted(&targets);
    let mut marks = Marks::default();
    marks.set(&wanted_marks, clock::now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _plane = match load {
        Load::Mix => Some(runtime.block_on(way_behind_virtual_addresses(&marks, &wanted_marks))?),
        Load::Tcp | Load::Smtp => None,
    };

    let (send, mut receive) = tokio::sync::mpsc::channel(64);
    let executor = Arc::new(Executor::new(send)?);
    let heard =
        Arc::new(Mutex::new(Heard { health: Health::new(&targets, clock::now()), good: 0, failed: BTreeMap::new() }));
    let (asks, hears) = (executor.clone(), heard.clone());
    std::thread::spawn(move || {
        while let Some(batch) = receive.blocking_recv() {
            lock(&hears).hear(batch, &asks);
        }
    });
    let marked = |target: &Target| {
        let via = target.question.via.as_ref()?;
        Some(Marked { mark: marks.mark(&via.server, Family::V4)?, source: Some(stage::SOURCE) })
    };
    executor.set(targets.into_iter().map(|target| (target.clone(), marked(&target))).collect::<Wanted>());
    for _ in std::io::stdin().lines() {
        let (stats, heard) = (executor.stats(), lock(&heard));
        let up = heard.health.iter().filter(|(_, health)| health.state() == State::Up).count();
        let late = [stats.lateness.p50, stats.lateness.p99, stats.lateness.max].map(|time| time.as_micros());
        print!("{} {} {up} {} {} {}", heard.good, stats.put_off, late[0], late[1], late[2]);
        println!("{}", heard.failed.iter().map(|(kind, count)| format!(" {kind}={count}")).collect::<String>());
        if let Some(trouble) = stats.trouble {
            eprintln!("put off: {trouble}");
        }
    }
    Ok(())
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the daemon makes of answers (`daemon::appliance`), and how many there were.
struct Heard {
    health: Health,
    good: u64,
    failed: BTreeMap<&'static str, u64>,
}

impl Heard {
    fn hear(&mut self, answers: Vec<Answer>, executor: &Executor) {
        let now = clock::now();
        for Answer { target, outcome } in answers {
            match &outcome.verdict {
                Verdict::Success(_) => self.good += 1,
                Verdict::Failure(failure) => *self.failed.entry(failure.kind.word()).or_default() += 1,
            }
            let begun = Moment(now.0.saturating_sub(outcome.took));
            if self.health.record(&target, outcome, now).is_some_and(|(health, _)| health.in_doubt()) {
                executor.hurry(&target, next_in_doubt(&target, begun, now));
            }
        }
    }
}
