//! The appliance: inputs of the plan, the plan, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tracing::warn;

use super::drains::Drains;
use super::editing::Held;
use super::events::Events;
use super::lock;
use super::pair::copy::Copying;
use super::store::Store;
use crate::config::diagnostic::Refused;
use crate::config::running::Inactive;
use crate::config::yaml;
use crate::config::{Config, Limits, Mac};
use crate::core::admin::Admin;
use crate::core::check::{Change, State};
use crate::core::control::ReloadReport;
use crate::core::events::What;
use crate::core::forwarding::Family;
use crate::core::marks::{self, Marks};
use crate::core::moment::Moment;
use crate::core::network::{IfIndex, Network};
use crate::core::plan::{Inputs, Plan, plan};
use crate::core::schedule_probes::next_in_doubt;
use crate::core::target::{self, Health, targets};
use crate::core::vip_claims::VipClaim;
use crate::dataplane::{DataPlane, DataPlaneError};
use crate::health::executor::{Answer, Executor, Wanted};
use crate::health::transport::Marked;
use crate::os::arp::FrameSender;
use crate::os::{clock, log, netlink};

/// Announcements of an address that has become ours: so many, this far apart.
const ANNOUNCEMENTS: u8 = 3;
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// How long a start waits for first probes before it schedules with what it knows.
const FIRST_PROBES: Duration = Duration::from_secs(3);

/// Everything that the daemon knows; the loop in `run` feeds it.
pub struct Appliance {
    /// What is in force.
    pub config: Config,
    /// What was typed and is not in force yet.
    pub(super) inactive: Vec<Inactive>,
    /// What the file says, as far as this daemon knows.
    pub(super) saved: Config,
    /// What is in force becomes what it was, unless it is confirmed.
    pub(super) held: Option<Held>,
    pub revision: u64,
    pub started: SystemTime,
    /// When the configuration in force was loaded.
    pub configured: SystemTime,
    /// When the latest attempt to load one was made, and whether it succeeded.
    pub last_reload: SystemTime,
    pub last_reload_ok: bool,
    pub plan: Plan,
    pub health: Health,
    pub admin: Admin,
    pub network: Arc<Network>,
    /// What does not work now, in words; by what it is about, so that it goes when that does.
    pub alarms: BTreeMap<&'static str, String>,
    /// When the certificate of the HTTP listener ends, Unix time.
    pub http_certificate_ends: Option<u64>,
    pub drains: Drains,
    pub events: Events,
    /// Counts the plans that the data plane was brought to.
    pub plans: u64,
    /// Counts the plans made, those that the data plane has refused as well.
    pub planned: u64,
    /// What both boxes of a pair have in common, and how it goes from the one to the other; none for a box alone.
    pub(super) copying: Option<Copying>,
    pub(super) path: PathBuf,
    pub(super) store: Store,
    pub(super) dataplane: Arc<Mutex<DataPlane>>,
    executor: Executor,
    os: netlink::Handle,
    marks: Marks,
    /// Servers whose marked probes have a way, and where these come from.
    probe_ways: BTreeMap<marks::Marked, Option<IpAddr>>,
    /// Woken when the targets have changed.
    pub retargeted: Arc<Notify>,
    /// Woken when another configuration is in force.
    pub reconfigured: Arc<Notify>,
    /// Machines that speak for a virtual address of DSR, and must not.
    pub vip_claims: BTreeSet<VipClaim>,
    announcer: FrameSender,
    announced: BTreeMap<IpAddr, (u8, Moment)>,
    /// Where, and with which MAC, they were announced.
    announced_on: BTreeMap<IfIndex, Mac>,
    dirty: bool,
    applied: bool,
    /// Of a pair's two boxes this one owns the addresses; the pair's thread announces them then.
    owner: bool,
    /// What is read at start only, as it is in force.
    at_start: Limits,
    /// The first plan has been applied.
    pub begun: bool,
    start: Moment,
}

/// What everything that is derived from configuration, plan and network follows from: while it is the same, nobody goes
/// through thousands of members and machines again.
pub struct Basis {
    planned: u64,
    revision: u64,
    network: Arc<Network>,
}

impl Basis {
    pub fn is_same(&self, other: &Self) -> bool {
        (self.planned, self.revision) == (other.planned, other.revision) && Arc::ptr_eq(&self.network, &other.network)
    }
}

impl Appliance {
    pub fn basis(&self) -> Basis {
        Basis { planned: self.planned, revision: self.revision, network: self.network.clone() }
    }

    /// `file`: what the configuration file says, and where it is.
    pub fn new(
        file: (Config, PathBuf),
        store: Store,
        network: Arc<Network>,
        dataplane: Arc<Mutex<DataPlane>>,
        executor: Executor,
        os: netlink::Handle,
        events: Events,
    ) -> anyhow::Result<Self> {
        let (config, path) = file;
        let admin = store.admin()?;
        let now = SystemTime::now();
        Ok(Self {
            health: Health::new(&targets(&config), clock::now()),
            at_start: config.limits.clone(),
            saved: config.clone(),
            inactive: Vec::new(),
            held: None,
            config,
            revision: 1,
            started: now,
            configured: now,
            last_reload: now,
            last_reload_ok: true,
            begun: false,
            start: clock::now(),
            plan: Plan::default(),
            admin,
            network,
            alarms: BTreeMap::new(),
            http_certificate_ends: None,
            drains: Drains::default(),
            events,
            plans: 0,
            planned: 0,
            copying: None,
            path,
            store,
            dataplane,
            executor,
            os,
            marks: Marks::default(),
            probe_ways: BTreeMap::new(),
            retargeted: Arc::new(Notify::new()),
            reconfigured: Arc::new(Notify::new()),
            vip_claims: BTreeSet::new(),
            announcer: FrameSender::open()?,
            announced: BTreeMap::new(),
            announced_on: BTreeMap::new(),
            dirty: true,
            applied: false,
            owner: false,
        })
    }

    /// Probes and neighbours follow the configuration.
    pub fn retarget(&mut self) {
        let wanted = targets(&self.config);
        self.health.retarget(&wanted, clock::now());
        self.marks.set(&marks::wanted(&wanted), clock::now());
        self.ask();
        self.retargeted.notify_one();
        let neighbours = self.config.servers.values().filter(|server| server.link.is_none());
        let servers = neighbours.flat_map(|s| s.address.map(IpAddr::V4).into_iter().chain(s.address6.map(IpAddr::V6)));
        let gateways = self.config.pair.iter().flat_map(|pair| pair.gateways.iter().copied());
        self.os.set_wanted(servers.chain(gateways).collect());
        self.dirty = true;
    }

    /// Servers that are probed behind a virtual address, with their own.
    pub fn probed_behind(&self) -> BTreeMap<marks::Marked, IpAddr> {
        let via = self.health.iter().filter_map(|(target, _)| target.question.via.as_ref());
        via.map(|via| ((via.server.clone(), Family::of(via.address)), via.address)).collect()
    }

    /// The way of such probes is there for these servers, and for no others; each with this box's address that
    /// they can answer.
    pub fn probe_ways_made(&mut self, sources: BTreeMap<marks::Marked, Option<IpAddr>>) {
        if self.probe_ways != sources {
            self.probe_ways = sources;
            self.ask();
        }
    }

    /// Has the targets asked. One behind a virtual address not before its way is made: until then another
    /// server, or this box itself, might answer in its place.
    fn ask(&mut self) {
        let mut asked = Wanted::new();
        for (target, _) in self.health.iter() {
            let Some(via) = &target.question.via else {
                asked.insert(target.clone(), None);
                continue;
            };
            let family = Family::of(via.address);
            let mark = self.marks.mark(&via.server, family);
            let source = self.probe_ways.get(&(via.server.clone(), family));
            if let (Some(mark), Some(source)) = (mark, source) {
                asked.insert(target.clone(), Some(Marked { mark, source: *source }));
            }
        }
        self.executor.set(asked);
    }

    /// Sets an alarm, or clears it where there are no words.
    pub fn set_alarm(&mut self, about: &'static str, words: String) {
        if words.is_empty() {
            self.alarms.remove(about);
        } else {
            // The loop sees what is new among them, and records it.
            self.alarms.insert(about, words);
        }
    }

    /// Takes the results of probes.
    pub fn answered(&mut self, answers: Vec<Answer>) {
        let now = clock::now();
        for Answer { target, outcome } in answers {
            let begun = Moment(now.0.saturating_sub(outcome.took));
            let Some((health, change)) = self.health.record(&target, outcome, now) else { continue };
            if health.in_doubt() {
                self.executor.hurry(&target, next_in_doubt(&target, begun, now));
            }
            let Some(Change { from, to }) = change else { continue };
            let (server, check) = (target::server_asked(&self.config, &target.question), target.question.to_string());
            let why = health.cause().to_owned();
            self.events.record(match to {
                State::Down => What::CheckDown { server, check, from, why },
                _ => What::CheckUp { server, check, from, why },
            });
            self.dirty = true;
        }
        let trouble = self.executor.stats().trouble.unwrap_or_default();
        self.set_alarm("probes", trouble);
    }

    /// What these servers were reached by has failed: they are asked now, and get no new connections until they answer.
    pub fn suspect(&mut self, servers: &BTreeSet<IpAddr>) {
        let suspects = self.health.suspect(|question| {
            let own = question.via.as_ref().map_or(question.address.ip(), |via| via.address);
            servers.contains(&own)
        });
        let now = clock::now();
        for target in &suspects {
            self.executor.hurry(target, now);
        }
        if !suspects.is_empty() {
            self.events.record(What::Suspected { addresses: servers.len(), checks: suspects.len() });
            self.dirty = true;
        }
    }

    pub fn network_changed(&mut self, network: Arc<Network>) {
        if *network != *self.network {
            self.network = network;
            self.dirty = true;
        }
    }

    /// When something is due though nothing happens: a step of a slow start, or another announcement.
    pub fn next(&self) -> Option<Moment> {
        let announcement = self
            .announced
            .values()
            .filter(|(times, _)| *times < ANNOUNCEMENTS)
            .map(|(_, last)| *last + ANNOUNCE_EVERY)
            .min();
        let patience = (!self.begun).then(|| self.start + FIRST_PROBES);
        [self.plan.next, announcement, patience, self.drains.next(), self.next_of_hold()].into_iter().flatten().min()
    }

    /// Reads the file again; on any error nothing has changed.
    pub fn reload(&mut self) -> Result<ReloadReport, Refused> {
        let report = self.take_file();
        self.last_reload_ok = report.is_ok();
        match &report {
            Ok(report) if report.changed => self.tell_configured("whoever wrote the file"),
            Ok(_) => {}
            Err(refused) => self.events.record(What::ConfigRefused { by: "the file".into(), why: refused.to_string() }),
        }
        report
    }

    /// For the event log: another configuration is in force.
    pub(super) fn tell_configured(&self, by: &str) {
        self.events.record(What::Configured { revision: self.revision, by: by.to_owned() });
    }

    fn take_file(&mut self) -> Result<ReloadReport, Refused> {
        self.last_reload = SystemTime::now();
        let loaded = yaml::load(&self.path)?;
        let mut notes: Vec<String> = loaded.warnings.iter().map(|w| format!("{}: {}", w.path, w.message)).collect();
        self.may_come_into_force(&loaded.config)?;
        notes.extend(self.forget_hold());
        if !self.inactive.is_empty() {
            notes.push("what was typed and is not complete is dropped".to_owned());
            self.inactive.clear();
        }
        self.saved = loaded.config.clone();
        if loaded.config == self.config {
            return Ok(ReloadReport { revision: self.revision, changed: false, notes });
        }
        notes.extend(self.bring_into_force(loaded.config));
        self.tell_change();
        Ok(ReloadReport { revision: self.revision, changed: true, notes })
    }

    /// Another configuration, which has been checked; what an operator should know of it.
    pub(super) fn bring_into_force(&mut self, config: Config) -> Vec<String> {
        let mut notes = Vec::new();
        if config.limits == self.at_start {
            self.alarms.remove("restart");
        } else {
            let note = "`limits` are read at start only: restart lbd for the new values";
            self.alarms.insert("restart", note.to_owned());
            notes.push(note.to_owned());
        }
        self.config = config;
        self.follow_logging();
        if self.admin.retain_configured(&self.config)
            && let Err(error) = self.store.keep_admin(&self.admin)
        {
            warn!("administrative state could not be kept: {error:#}");
        }
        self.revision += 1;
        self.configured = SystemTime::now();
        self.retarget();
        self.reconfigured.notify_one();
        // New questions want their first answers, as at the start: until then the tables stay as they are.
        self.begun = false;
        self.start = clock::now();
        notes
    }

    /// The log goes where the configuration in force says.
    pub fn follow_logging(&self) {
        log::syslog::configure(&self.config.logging, self.config.hostname.as_str());
    }

    /// Takes the orders that the owner of the pair has been given; on any error nothing has changed.
    pub fn follow_orders(&mut self, text: &str) {
        let taken = Admin::from_json(text, clock::calendar()).map_err(anyhow::Error::from);
        match taken.and_then(|admin| self.set_admin(admin)) {
            Ok(()) => self.events.record(What::OrdersTaken {}),
            Err(error) => warn!("the orders of the other box could not be taken: {error:#}"),
        }
    }

    /// The data plane has tables to serve by: those of this daemon, or of the one before.
    pub fn holds_tables(&self) -> bool {
        self.applied || lock(&self.dataplane).adopted()
    }

    /// Owning has begun or ended.
    pub fn owns(&mut self, owns: bool) {
        self.owner = owns;
    }

    pub fn is_owner(&self) -> bool {
        self.owner
    }

    /// Keeps a changed administrative state; on any error nothing has changed.
    pub(super) fn set_admin(&mut self, admin: Admin) -> anyhow::Result<()> {
        self.store.keep_admin(&admin)?;
        self.admin = admin;
        self.dirty = true;
        Ok(())
    }

    /// Has the data plane follow an input that has changed.
    pub(super) fn replan(&mut self) -> Result<(), DataPlaneError> {
        self.dirty = true;
        self.settle()
    }

    /// The data plane is as planned.
    pub(super) fn is_settled(&self) -> bool {
        self.begun && !self.dirty
    }

    /// Makes the plan that the inputs ask for, and brings the data plane to it. Not before the first probes
    /// have answered, or patience is at its end: a start schedules nobody unproven for so long, and an adopted
    /// data plane keeps its tables meanwhile.
    pub fn settle(&mut self) -> Result<(), DataPlaneError> {
        let now = clock::now();
        self.begun = self.begun || self.health.decided() || now.since(self.start) >= FIRST_PROBES;
        let inputs =
            Inputs { config: &self.config, health: &self.health, admin: &self.admin, network: &self.network, now };
        if !self.begun {
            // For whoever asks meanwhile what there is, and for the probes.
            self.plan = plan(&inputs);
            self.planned += 1;
            return self.place_probes();
        }
        if self.dirty || self.plan.next.is_some_and(|next| next <= now) {
            self.plan = plan(&inputs);
            self.planned += 1;
            // Stays dirty if the data plane refuses: the next turn tries again.
            self.dirty = true;
            if let Err(error) = self.apply() {
                self.alarms.insert("dataplane", format!("the data plane is not as planned: {error}"));
                return Err(error);
            }
            self.alarms.remove("dataplane");
            self.dirty = false;
            self.plans += 1;
        }
        self.announce(now);
        Ok(())
    }

    /// Where marked probes go: the way that customers' packets take.
    fn place_probes(&self) -> Result<(), DataPlaneError> {
        lock(&self.dataplane).set_probe_places(&self.marks.places(&self.plan.state))
    }

    fn apply(&mut self) -> Result<(), DataPlaneError> {
        self.place_probes()?;
        let names: BTreeMap<IfIndex, String> =
            self.network.links.iter().map(|(index, link)| (*index, link.name.clone())).collect();
        let mut dataplane = lock(&self.dataplane);
        let notes = dataplane.apply(&self.plan.state, &names, self.config.interfaces.xdp)?;
        if !notes.is_empty() {
            self.alarms.insert("xdp", notes.join("; "));
        } else if self.plan.state.ports.keys().all(|port| dataplane.native(*port) == Some(true)) {
            self.alarms.remove("xdp");
        }
        if !self.applied {
            self.applied = true;
            if self.config.pair.is_none() {
                // The lease of a box that is alone does not expire.
                dataplane.own_alone();
                self.owner = true;
            }
        }
        Ok(())
    }

    /// Tells the network where our addresses are, some times over, from when they are ours.
    fn announce(&mut self, now: Moment) {
        if !self.applied || self.config.pair.is_some() {
            return;
        }
        let state = &self.plan.state;
        let on: BTreeMap<IfIndex, Mac> =
            state.ports.iter().filter(|(_, port)| port.forwarding).map(|(index, port)| (*index, port.mac)).collect();
        if on != self.announced_on {
            // A port that has come up, or another MAC: the neighbours must hear of it.
            self.announced.clear();
            self.announced_on = on;
        }
        if self.announced_on.is_empty() {
            return;
        }
        let ours: BTreeSet<IpAddr> =
            state.vips.iter().copied().chain(state.inside.iter().map(|prefix| prefix.address)).collect();
        self.announced.retain(|address, _| ours.contains(address));
        for address in ours {
            let (times, last) = self.announced.entry(address).or_insert((0, Moment::default()));
            if *times >= ANNOUNCEMENTS || (*times > 0 && now.since(*last) < ANNOUNCE_EVERY) {
                continue;
            }
            (*times, *last) = (*times + 1, now);
            for (index, mac) in &self.announced_on {
                if let Err(error) = self.announcer.announce(*index, 0, *mac, address) {
                    warn!("{address} could not be announced on port {index}: {error}");
                }
            }
        }
    }
}
