//! `lbd run`: the appliance in the foreground.
//!
//! ```text
//!   configuration file ─┐
//!   probes' answers ────┤                       ┌─> data plane (tables, ports)
//!   network changes ────┼─> appliance ── plan ──┤
//!   operations (HTTP) ──┘      │                └─> probes, neighbours to keep
//!                              └─> state, for the faces
//! ```
//!
//! One loop takes events in turn; whatever changes an input of the plan makes a new plan and brings the
//! data plane to it. Housekeeping (sweeps, MACs to keep learnt) runs beside it.

mod appliance;
mod archive;
mod capture;
mod changes;
mod clients;
mod configfile;
mod control;
mod doors;
mod drains;
mod dsr;
mod editing;
mod events;
mod explain;
mod history;
mod housekeeping;
mod kernel;
mod pair;
mod port_counts;
mod port_gates;
mod promptness;
mod state;
mod store;
mod switch;
pub mod sync;

pub use housekeeping::{STEP_PAUSE, WALK_PAUSE};
pub use port_gates::{GateError, PortGates};

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::access;
use crate::cli;
use crate::config::yaml;
use crate::core::events::What;
use crate::core::gates::{Gate, Gates};
use crate::dataplane::{self, DataPlane};
use crate::health::executor::Executor;
use crate::http;
use crate::os::arp::FrameSender;
use crate::os::netlink::ProbeRoute;
use crate::os::vip_watch::VipWatch;
use crate::os::{clock, log, netlink};
use crate::snmp;
use appliance::Appliance;
use changes::Changes;
use clients::Clients;
use control::{ApplianceControl, Observed};
use events::Events;
use history::History;
use kernel::KernelSide;
use pair::{News, Pair};
use port_counts::PortCounts;
use promptness::Promptness;
use store::Store;
use switch::Switch;

/// Where `lbd run` finds and keeps its things.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration, YAML.
    pub config: PathBuf,
    /// Survives a reboot: administrative state.
    pub state_dir: PathBuf,
    /// Until the next boot: lock, and the pinned data plane in `bpf`.
    pub run_dir: PathBuf,
}

/// How often what changes by itself is looked at, for the event log.
const WATCH: Duration = Duration::from_secs(1);
/// What is left of the log has so long to get to its servers when the daemon ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// What the data plane refused is tried again within this time.
const RETRY: Duration = Duration::from_secs(5);
/// Batches of answers that wait for the loop; probes that find no room for theirs wait.
const ANSWERS: usize = 64;

/// Locks, also after a panic elsewhere: the appliance goes on with what is there.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs until SIGTERM or SIGINT. The data plane goes on without us.
pub async fn run(options: Options) -> anyhow::Result<()> {
    // First: until somebody listens, SIGHUP ends a process, and SIGTERM ends it without a word.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let loaded = yaml::load(&options.config)?;
    eprint!("{}", loaded.render_warnings());
    let config = loaded.config;
    if let Some(pair) = &config.pair {
        pair::check_times(pair)?;
    }
    let store = Store::open(&options.state_dir, &options.run_dir)?;
    // Before anything looks at the ports, and the data plane sits on them.
    let gates = Arc::new(Gates::default());
    // Of a pair's two uplinks one blocks. That of a box that has just booted does, until its pair says otherwise.
    let boots = !dataplane::is_pinned(&options.run_dir.join("bpf"));
    let uplinks_at_first = (config.pair.is_some() && boots).then_some(Gate::Blocked);
    let kernel = KernelSide::start()?;
    let mut switch = {
        let _there = kernel.enter();
        Switch::open(&options.run_dir, gates.clone(), uplinks_at_first)?
    };
    for problem in switch.bring(&config.interfaces).await.problems {
        warn!("the switch is not as configured: {problem}");
    }
    let (network, os) = kernel.spawn(netlink::watch(netlink::Options::default())).await??;
    let console = cli::console::bind(&options.run_dir).context("the console's socket")?;
    store.admin()?;
    // Last of what is likely to fail, because it leaves something behind.
    let mut dataplane = DataPlane::load(&config.limits, Some(&options.run_dir.join("bpf")))?;
    dataplane.use_gates(gates.clone());
    for note in dataplane.notes() {
        warn!("{note}");
    }
    let events = Events::open(&options.state_dir);
    log::syslog::configure(&config.logging, config.hostname.as_str());
    events.record(What::Started {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        data_plane: if dataplane.adopted() { "taken over with its connections" } else { "loaded" }.to_owned(),
    });
    let dataplane = Arc::new(Mutex::new(dataplane));
    let (answers_in, mut answers) = mpsc::channel(ANSWERS);
    let mut appliance = Appliance::new(
        (config, options.config),
        store,
        network.borrow().clone(),
        dataplane.clone(),
        Executor::new(answers_in)?,
        os.clone(),
        events.clone(),
    )?;
    appliance.open_copying(&options.state_dir);
    appliance.retarget();
    // Whoever asks from now on is told what there is.
    appliance.settle()?;
    let mut clients = Clients::default();
    let mut pair = Pair::start(&appliance, &dataplane, gates, &options.state_dir)?;
    let appliance = Arc::new(Mutex::new(appliance));
    let (kick_in, mut kick) = mpsc::channel(1);
    let (counts_out, port_counts) = watch::channel(PortCounts::default());
    let reader = kernel.spawn(port_counts::keep(appliance.clone(), os.clone(), counts_out));
    let promptness = Arc::new(Promptness::default());
    let measuring = tokio::spawn(promptness::measure(promptness.clone()));
    let history = Arc::new(Mutex::new(History::default()));
    let historian = tokio::spawn(history::keep(history.clone(), appliance.clone(), dataplane.clone()));
    let control = Arc::new(ApplianceControl::new(
        appliance.clone(),
        dataplane.clone(),
        Observed { port_counts, promptness: promptness.clone(), history: history.clone() },
        kick_in,
        pair.as_ref().map(Pair::access),
        &options.state_dir,
    ));
    let console = tokio::spawn(cli::console::serve(console, control.clone()));
    // Nobody's mail waits for a key that cannot be read: the console is the way in.
    let (ssh_status, ssh) =
        match cli::ssh::Server::open(control.clone(), &options.state_dir, cli::ssh::Limits::default()) {
            Ok(server) => (Some(server.status()), Some(tokio::spawn(server.run()))),
            Err(error) => {
                let words = format!("no SSH, until the next start: {error:#}");
                warn!("{words}");
                lock(&appliance).set_alarm("ssh", words);
                (None, None)
            }
        };
    let snmp = tokio::spawn(snmp::keep(control.clone()));
    let (stop_http, stopping) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move { _ = stopping.await };
    let users = Arc::new(access::auth::Local::new(control.clone()));
    let http = http::Server::new(control, users, http::Limits::default());
    let porter = tokio::spawn(doors::keep(appliance.clone(), http.status(), ssh_status));
    let http = tokio::spawn(http.run(shutdown));
    let _sweeper = housekeeping::sweep(dataplane.clone());
    let resetter = housekeeping::reset(dataplane.clone(), FrameSender::open()?);
    let learner = kernel.spawn(housekeeping::keep_learnt(dataplane.clone(), network.clone(), os.clone()));

    let reconfigured = lock(&appliance).reconfigured.clone();
    let switcher = kernel.spawn(switch::keep(switch, appliance.clone(), network.clone(), reconfigured));
    let retargeted = lock(&appliance).retargeted.clone();
    let probe_route = {
        let _there = kernel.enter();
        ProbeRoute::open()?
    };
    let prober = kernel.spawn(dsr::keep(
        appliance.clone(),
        dataplane.clone(),
        probe_route,
        VipWatch::start()?,
        network.clone(),
        retargeted,
    ));

    let mut network = network;
    let mut changes = Changes::default();
    let mut look = tokio::time::interval(WATCH);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let wake = wake_at(&appliance);
        tokio::select! {
            batch = answers.recv() => {
                let batch = batch.context("the thread of the probes has ended; restart lbd")?;
                let mut appliance = lock(&appliance);
                appliance.answered(batch);
                // Answers come in bursts: one plan for all that are there.
                while let Ok(batch) = answers.try_recv() {
                    appliance.answered(batch);
                }
            }
            changed = network.changed() => {
                changed.context("the watcher of the kernel's network tables has ended; restart lbd")?;
                let latest = network.borrow_and_update().clone();
                lock(&appliance).network_changed(latest);
            }
            Some(()) = kick.recv() => {}
            _ = look.tick() => {}
            _ = hangup.recv() => match lock(&appliance).reload() {
                Ok(report) => {
                    report.notes.iter().for_each(|note| warn!("{note}"));
                    info!("configuration reloaded, revision {}", report.revision);
                }
                // The event has the beginning; here are all places and the remedies.
                Err(refused) => error!("configuration refused, nothing has changed:\n{refused}"),
            },
            news = pair_news(&mut pair) => {
                if let Some(pair) = &mut pair {
                    pair.heed(news, &mut lock(&appliance));
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = tokio::time::sleep(wake) => {}
        }
        let begun = clock::now();
        if let Some(pair) = &mut pair {
            pair.tell_links(&lock(&appliance));
        }
        tokio::task::block_in_place(|| clients.follow(&lock(&appliance)));
        lock(&appliance).look_at_hold();
        if let Err(error) = tokio::task::block_in_place(|| lock(&appliance).settle()) {
            error!("the data plane could not be brought to the plan, the next event tries again: {error}");
        }
        tokio::task::block_in_place(|| lock(&appliance).look_at_drains());
        resetter.wake();
        if let Some(pair) = &mut pair {
            pair.follow(&mut lock(&appliance));
        }
        promptness.turned(clock::now().since(begun));
        changes.look(&lock(&appliance), pair.as_ref());
    }
    if let Some(pair) = &mut pair {
        pair.leave().await;
    }
    events.record(What::Stopping {});
    reader.abort();
    measuring.abort();
    historian.abort();
    learner.abort();
    prober.abort();
    switcher.abort();
    console.abort();
    snmp.abort();
    porter.abort();
    if let Some(ssh) = ssh {
        ssh.abort();
    }
    let _ = stop_http.send(());
    http.await?;
    tokio::task::block_in_place(|| events.flush());
    log::syslog::drain(FAREWELL).await;
    Ok(())
}

/// News of the pair's thread; never, without a pair.
async fn pair_news(pair: &mut Option<Pair>) -> News {
    match pair {
        Some(pair) => pair.news().await,
        None => std::future::pending().await,
    }
}

/// Ends a data plane that runs on without its daemon. Refused while a daemon runs, which would go on with
/// a data plane that is no longer pinned, and take every connection along when it ends.
pub fn stop(run_dir: &Path) -> anyhow::Result<()> {
    if !run_dir.exists() {
        return Ok(());
    }
    let _lock = store::lock(run_dir)?;
    dataplane::stop(&run_dir.join("bpf"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async { ProbeRoute::open()?.remove().await })?)
}

/// How long the loop may sleep though nothing happens.
fn wake_at(appliance: &Mutex<Appliance>) -> Duration {
    let next = lock(appliance).next();
    let wait = next.map_or(RETRY, |moment| moment.since(clock::now()));
    wait.clamp(Duration::from_millis(1), RETRY)
}
