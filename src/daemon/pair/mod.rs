//! The pair, as the daemon sees it: what its thread is told of this box, and what follows from its news.
//!
//! `thread.rs` drives the election; here is what the daemon's loop does beside it.

pub mod copy;
mod health;
mod incarnation;
mod inputs;
mod shown;
mod stream;
mod thread;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use stream::{Shared, Stream};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::appliance::Appliance;
use super::lock;
use super::port_gates::PortGates;
use super::sync::{Hearing, Telling};
use crate::config::pair::{Fence, Path as ConfigPath};
use crate::config::{Mac, Pair as PairConfig};
use crate::core::admin::Admin;
use crate::core::control::{OperationError, PairOrder, PairState};
use crate::core::events::What;
use crate::core::gates::Gates;
use crate::core::moment::Moment;
use crate::dataplane::DataPlane;
use crate::dataplane::question::PairId;
use crate::os::clock;
use crate::pair::election::{Alarm, Command, Settings};
use crate::pair::key::Keys;
use crate::pair::paths::serial::{SerialConfig, SerialPath};
use crate::pair::paths::udp::{UdpConfig, UdpPath};
use crate::pair::paths::{Medium, Path};
use crate::pair::seal::{Channel, Kind, Opener, Sealer};
use crate::pair::sync::{Receiver, Sender, SenderLimits};
use crate::pair::time::Span;
use crate::pair::timers::{LEASE_MARGIN, Timers};
use crate::pair::version::SPOKEN;
use crate::pair::wire::{Codec, Identity};
use inputs::Changes;
use thread::{Driver, Found, Handle, box_id};

pub use thread::News;

/// News that wait for the loop.
const NEWS: usize = 64;
/// After any change of ownership no hand-over comes by itself for so long.
const HOLD: Span = Span::from_secs(30);
/// A planned restart waits for the peer's consent no longer than this.
const EXIT_PATIENCE: Duration = Duration::from_millis(500);

/// What is seen of the servers is compared and told so often.
const HEALTH_EVERY: Duration = Duration::from_millis(100);

/// The pair of a box that has one.
pub struct Pair {
    handle: Handle,
    news: mpsc::Receiver<News>,
    inputs: inputs::Watch,
    fence: Option<Fence>,
    state_dir: PathBuf,
    stream: Arc<Shared>,
    key_file: PathBuf,
    keys: Keys,
    /// The file is read anew when the configuration is.
    keys_read: SystemTime,
    /// What was told last of orders.
    orders: Option<Admin>,
    health: HealthViews,
}

/// What the two boxes see of the servers.
#[derive(Default)]
struct HealthViews {
    looked: Moment,
    /// What an owner has told last.
    told: Option<health::View>,
    /// What the owner has told this box.
    theirs: Option<health::View>,
    watch: health::Watch,
}

/// What faces see of the pair, and order.
pub struct Access {
    handle: Handle,
    stream: Arc<Shared>,
}

impl Access {
    /// `None` before the thread has begun.
    pub fn state(&self, appliance: &Appliance) -> Option<PairState> {
        let report = self.handle.report()?;
        let stream = *lock(&self.stream.report);
        let health = lock(&self.stream.health_differs).clone();
        Some(shown::shown(&report, &stream, health, appliance))
    }

    /// Puts an order on its way.
    pub fn order(&self, order: PairOrder) -> Result<(), OperationError> {
        let command = match order {
            PairOrder::HandOver => {
                shown::hand_over_possible(self.handle.report().as_ref()).map_err(OperationError::NoHandOver)?;
                Command::HandOver
            }
            PairOrder::Maintenance(on) => Command::Maintenance(on),
            // Of the appliance; it does not concern the election.
            PairOrder::TakeConfig(_) => return Ok(()),
        };
        let busy = || OperationError::Unavailable("the pair's thread has too many orders waiting".to_owned());
        self.handle.order(command).then_some(()).ok_or_else(busy)
    }
}

/// Times of the rules from those of the configuration.
fn timers(config: &PairConfig) -> Timers {
    let dead = span(config.dead);
    let question = if dead < Timers::DEFAULT.dead { Timers::FAST.question } else { Timers::DEFAULT.question };
    Timers { heartbeat: span(config.heartbeat), lease: dead.saturating_sub(LEASE_MARGIN), dead, question }
}

/// Refuses times that a thread cannot keep which stalls as one without a real-time priority may: one lost race for the
/// processor would be a takeover. The default times only lose their reserve; the thread warns of that.
pub fn check_times(config: &PairConfig) -> anyhow::Result<()> {
    if span(config.dead) >= Timers::DEFAULT.dead {
        return Ok(());
    }
    crate::os::realtime::is_allowed().map_err(|why| {
        anyhow::anyhow!(
            "`pair.dead` of {} ms wants heartbeats with a real-time priority and locked memory, and {why}; grant both, or \
             say `dead: 400ms`",
            config.dead.as_millis()
        )
    })
}

fn span(time: Duration) -> Span {
    Span(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// The number of the pair is the same on both boxes: of their MACs.
fn pair_id(own: Mac, peer: Mac) -> PairId {
    PairId(box_id(own).0 ^ box_id(peer).0.rotate_left(16) ^ box_id(peer).0 ^ box_id(own).0.rotate_left(16))
}

impl Pair {
    /// Starts the thread, if a pair is configured. `adopted`: the data plane of this boot was found.
    pub fn start(
        appliance: &Appliance,
        dataplane: &Mutex<DataPlane>,
        gates: Arc<Gates>,
        state_dir: &FsPath,
    ) -> anyhow::Result<Option<Self>> {
        let Some(config) = appliance.config.pair.clone() else { return Ok(None) };
        let copier = appliance.copier().context("a pair copies its configuration")?;
        // Validation has seen to it.
        let own = appliance.config.interfaces.mac.context("a pair needs `interfaces.mac`")?;
        let (lease, adopted, port_gates) = {
            let dataplane = lock(dataplane);
            (dataplane.lease_writer()?, dataplane.adopted(), PortGates::open(gates, &dataplane)?)
        };
        let keys = Keys::load(&config.key_file)?;
        let (stream_keys, known_keys, key) = (keys.clone(), keys.clone(), keys.sending().clone());
        let incarnation = incarnation::next(state_dir, adopted)?;
        let (own_id, peer_id) = (box_id(own), box_id(config.peer_mac));
        let identity = Identity {
            own: own_id,
            incarnation,
            peer: peer_id,
            peer_floor: incarnation::of_peer(state_dir),
            versions: SPOKEN,
        };
        let codec = Codec::new(&identity, keys)?;
        let paths = config
            .paths
            .iter()
            .zip(0_u8..)
            .map(|((name, path), number)| Ok((name.to_string(), open(path, number)?)))
            .collect::<anyhow::Result<Vec<(String, Path)>>>()?;
        let settings = Settings {
            priority: config.priority,
            preempt: config.preempt.is_some(),
            preempt_delay: config.preempt.map_or(Span::ZERO, span),
            detection: inputs::detection(&appliance.config),
            hold: HOLD,
            orphan_after: span(config.orphan_after),
            fence: config.fence.as_ref().map(|fence| span(fence.timeout)),
            booted: !adopted,
            ..Settings::new(own_id, peer_id, incarnation, timers(&config))
        };
        let (news_in, news) = mpsc::channel(NEWS);
        // Of a data plane that was found the uplinks stay as they are, else they begin blocked.
        let found = Found {
            uplink_open: adopted && inputs::uplinks_forward(appliance),
            cross_open: !adopted || inputs::crosses(appliance),
        };
        let stream_news = news_in.clone();
        let driver = Driver {
            settings,
            heartbeat: span(config.heartbeat),
            lease,
            codec,
            paths,
            peer_mac: config.peer_mac,
            pair: pair_id(own, config.peer_mac),
            key,
            gates: port_gates,
            news: news_in,
        };
        let (watch, inputs, scene, links) = inputs::Watch::begin(appliance)?;
        let handle = thread::start(driver, inputs, scene, links, found)?;
        let stream = Arc::new(Shared::default());
        let (capture, restore) = {
            let dataplane = lock(dataplane);
            (dataplane.capture()?, dataplane.restore()?)
        };
        let first_session = u64::from(incarnation.boot) << 40 | u64::from(incarnation.start) << 20;
        stream::start(Stream {
            telling: Telling::new(capture, Sender::new(first_session, SenderLimits::default())),
            hearing: Hearing::new(restore, Receiver::new(first_session | 1)),
            sealer: Sealer::new(Kind::Sync, own_id, incarnation, &stream_keys)?,
            opener: Opener::new(Kind::Sync, own_id, peer_id, SPOKEN, stream_keys, identity.peer_floor),
            paths: stream_paths(&config)?,
            copier,
            first_session,
            handle: handle.clone(),
            news: stream_news,
            shared: stream.clone(),
        })?;
        info!("the pair: box {own}, life {}.{}, peer {}", incarnation.boot, incarnation.start, config.peer_mac);
        Ok(Some(Self {
            handle,
            news,
            inputs: watch,
            fence: config.fence,
            state_dir: state_dir.into(),
            stream,
            key_file: config.key_file,
            keys: known_keys,
            keys_read: appliance.last_reload,
            orders: None,
            health: HealthViews::default(),
        }))
    }

    /// For faces.
    pub fn access(&self) -> Access {
        Access { handle: self.handle.clone(), stream: self.stream.clone() }
    }

    /// Tells what is cut or mended of the pair's own links. Before the tables follow, which can take a quarter of a second
    /// where servers were behind such a link: customers wait for the uplink meanwhile.
    pub fn tell_links(&mut self, appliance: &Appliance) {
        if let Some(links) = self.inputs.changed_links(appliance) {
            self.handle.tell(|mailbox| mailbox.links = Some(links));
        }
    }

    /// Tells the threads what has changed of this box.
    pub fn follow(&mut self, appliance: &mut Appliance) {
        self.follow_keys(appliance);
        self.stream.owns.store(appliance.is_owner(), Ordering::Relaxed);
        if let Some(revision) = appliance.settled_revision() {
            self.stream.settled.store(revision, Ordering::Relaxed);
        }
        self.tell_orders(appliance);
        self.follow_health(appliance);
        match self.inputs.changed(appliance) {
            Ok(Changes { inputs: None, scene: None }) => {}
            Ok(Changes { inputs, scene }) => self.handle.tell(|mailbox| {
                if inputs.is_some() {
                    mailbox.inputs = inputs;
                }
                if scene.is_some() {
                    mailbox.scene = scene;
                }
            }),
            Err(error) => warn!("the pair's thread was not told of a change: {error}"),
        }
    }

    /// A file that cannot be used changes nothing: the pair goes on with the keys that it has.
    fn follow_keys(&mut self, appliance: &mut Appliance) {
        if self.keys_read == appliance.last_reload {
            return;
        }
        self.keys_read = appliance.last_reload;
        let keys = match Keys::load(&self.key_file) {
            Ok(keys) => keys,
            Err(error) => return appliance.set_alarm("pair-keys", format!("{error}; the keys stay as they were")),
        };
        appliance.set_alarm("pair-keys", String::new());
        if keys != self.keys {
            info!("pair: the keys have changed; key {} seals", keys.sending().id);
            *lock(&self.stream.keys) = Some(keys.clone());
            self.handle.tell(|mailbox| mailbox.keys = Some(keys.clone()));
            self.keys = keys;
        }
    }

    /// The operator's orders of an owner go to the other box, whenever they have changed, and when owning begins: the
    /// stream is then another, and the other box may be, too.
    fn tell_orders(&mut self, appliance: &Appliance) {
        if !appliance.is_owner() {
            self.orders = None;
            return;
        }
        if self.orders.as_ref() == Some(&appliance.admin) {
            return;
        }
        let Ok(orders) = appliance.admin.to_json() else { return };
        // Of two boxes' orders those count that were given last.
        let revision = u64::try_from(clock::calendar().0.as_millis()).unwrap_or(u64::MAX);
        *lock(&self.stream.orders) = Some((revision, orders.into_bytes()));
        self.orders = Some(appliance.admin.clone());
    }

    /// An owner tells what it sees of the servers, the other box compares.
    fn follow_health(&mut self, appliance: &mut Appliance) {
        let (views, now) = (&mut self.health, clock::now());
        if now.since(views.looked) < HEALTH_EVERY {
            return;
        }
        views.looked = now;
        let own = health::View::of(&appliance.plan.members);
        let mut difference = health::Difference::default();
        if appliance.is_owner() {
            views.theirs = None;
            if views.told.as_ref() != Some(&own) {
                // Later than that of any earlier ownership, of this box or the other one.
                let revision = u64::try_from(clock::calendar().0.as_millis()).unwrap_or(u64::MAX);
                *lock(&self.stream.health) = Some((revision, own.to_bytes()));
                views.told = Some(own.clone());
            }
        } else {
            views.told = None;
            difference = views.theirs.as_ref().map(|theirs| own.differs(theirs)).unwrap_or_default();
        }
        let patience = Duration::from_nanos(inputs::detection(&appliance.config).0) * 2;
        let words = views.watch.judge(&own, &difference.here, patience, now);
        *lock(&self.stream.health_differs) = difference;
        appliance.set_alarm("pair-health", words);
    }

    /// The next news; never, if the thread has ended.
    pub async fn news(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// Does what news ask for.
    pub fn heed(&mut self, news: News, appliance: &mut Appliance) {
        match news {
            News::Alarm(alarm) => {
                let what = What::PairAlarm { alarm: alarm.word().to_owned(), words: alarm.words() };
                appliance.events.record(what);
                if alarm == Alarm::ClaimedUnheard {
                    appliance.suspect(&inputs::behind_peer(appliance));
                }
            }
            News::Owns(true) => {
                appliance.events.record(What::OwnerBecame {});
                appliance.owns(true);
                appliance.attend_to_copy();
            }
            News::Owns(false) => {
                appliance.events.record(What::OwnerCeased {});
                appliance.owns(false);
                appliance.attend_to_copy();
            }
            News::Copy => appliance.attend_to_copy(),
            News::PeerLives(life) => {
                if let Err(error) = incarnation::keep_of_peer(&self.state_dir, life) {
                    warn!("pair: the peer's life could not be kept: {error:#}");
                }
            }
            News::Orders { bytes, .. } => {
                if !appliance.is_owner() {
                    match std::str::from_utf8(&bytes) {
                        Ok(text) => appliance.follow_orders(text),
                        Err(error) => warn!("pair: the orders of the other box cannot be read: {error}"),
                    }
                }
            }
            News::Health { bytes } => match health::View::parse(&bytes) {
                Ok(view) => self.health.theirs = Some(view),
                Err(error) => warn!("pair: what the other box sees of the servers cannot be read: {error}"),
            },
            News::Fence => self.fence(),
            // Nobody has ordered a restart but `leave`, which waits for it itself.
            News::Exit => {}
            News::Trouble(words) => {
                appliance.set_alarm("pair", words);
            }
        }
    }

    fn fence(&self) {
        let Some(fence) = self.fence.clone() else { return };
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let ok = run_fence(&fence).await;
            handle.tell(|mailbox| mailbox.fenced = Some(ok));
        });
    }

    /// Before the daemon ends on purpose: has the peer give it time to come back, and waits for its consent.
    pub async fn leave(&mut self) {
        self.handle.order(Command::Restart);
        let consent = async {
            loop {
                if let News::Exit = self.news().await {
                    return;
                }
            }
        };
        if tokio::time::timeout(EXIT_PATIENCE, consent).await.is_err() {
            warn!("pair: the peer did not consent to a restart within {EXIT_PATIENCE:?}; it may take over");
        }
        self.handle.tell(|mailbox| mailbox.stop = true);
        self.stream.stop.store(true, Ordering::Relaxed);
    }
}

/// The stream goes by those paths that are networks, at the port behind that of the heartbeats.
fn stream_paths(config: &PairConfig) -> anyhow::Result<Vec<(Channel, UdpPath)>> {
    let mut paths = Vec::new();
    for (path, number) in config.paths.values().zip(0_u8..) {
        if let (Some(channel), ConfigPath::Udp { local, peer, port, interface }) = (Channel::new(number), path) {
            paths.push((channel, stream::path(udp(*local, *peer, *port, interface.as_deref()))?));
        }
    }
    Ok(paths)
}

fn udp(local: IpAddr, peer: IpAddr, port: u16, device: Option<&str>) -> UdpConfig {
    let (local, peer) = (SocketAddr::new(local, port), SocketAddr::new(peer, port));
    UdpConfig { local, peer, device: device.map(str::to_owned), queue_bytes: None }
}

fn open(path: &ConfigPath, number: u8) -> anyhow::Result<Path> {
    let channel = Channel::new(number).context("a pair has at most 16 paths")?;
    let medium = match path {
        ConfigPath::Udp { local, peer, port, interface } => {
            Medium::Udp(UdpPath::new(udp(*local, *peer, *port, interface.as_deref()))?)
        }
        ConfigPath::Serial { device, baud } => {
            Medium::Serial(SerialPath::new(SerialConfig { device: device.clone(), baud: *baud })?)
        }
    };
    Ok(Path::new(channel, medium))
}

/// Whether the command says that the other box is off. It has a process group of its own, which does not outlive
/// its time.
async fn run_fence(fence: &Fence) -> bool {
    let [program, arguments @ ..] = fence.command.as_slice() else { return false };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(std::process::Stdio::null()).process_group(0).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            error!("pair: the fence command {program} cannot be run: {error}");
            return false;
        }
    };
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    match tokio::time::timeout(fence.timeout, child.wait()).await {
        Ok(Ok(status)) => {
            if !status.success() {
                error!("pair: the fence command {program} ended with {status}");
            }
            status.success()
        }
        Ok(Err(error)) => {
            error!("pair: the fence command {program}: {error}");
            false
        }
        Err(_) => {
            error!("pair: the fence command {program} was killed after {:?}", fence.timeout);
            if let Some(group) = group {
                _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL);
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_boxes_compute_the_same_number_of_the_pair() {
        let (a, b) = (Mac([2, 0, 0x5e, 0, 0, 1]), Mac([2, 0, 0x5e, 0, 0, 2]));
        assert_eq!(pair_id(a, b), pair_id(b, a));
        assert_ne!(pair_id(a, b), pair_id(a, Mac([2, 0, 0x5e, 0, 0, 3])));
        assert_ne!(pair_id(a, b), PairId::NONE);
    }

    /// What validation lets through: `dead` of five heartbeats or more, and lines that carry one in half of its time.
    #[test]
    fn all_times_that_a_configuration_may_have_hold_the_relations_of_the_rules() {
        for heartbeat in (20..=1_000).map(Duration::from_millis) {
            let least = (heartbeat * PairConfig::HEARTBEATS_IN_DEAD).max(Duration::from_millis(100));
            for dead in [least, PairConfig::DEAD_DEFAULT, Duration::from_millis(400), Duration::from_secs(10)] {
                let config = of(heartbeat, dead.max(least));
                let held = timers(&config).check(Span::from_millis(40), span(heartbeat / 2));
                assert_eq!(held, Ok(()), "{heartbeat:?}, {dead:?}");
            }
        }
    }

    fn of(heartbeat: Duration, dead: Duration) -> PairConfig {
        PairConfig {
            peer_mac: Mac([2; 6]),
            key_file: "/k".into(),
            priority: 100,
            preempt: None,
            heartbeat,
            dead,
            paths: Default::default(),
            track: Vec::new(),
            gateways: Vec::new(),
            orphan_after: PairConfig::ORPHAN_AFTER_DEFAULT,
            fence: None,
        }
    }
}
