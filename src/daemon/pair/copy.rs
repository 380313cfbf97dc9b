//! The configuration that both boxes have, at this end: kept on disk with its revision, put in force when it comes
//! from the other box, and told of to faces.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::config::common::{common, is_blank, merge};
use crate::config::diagnostic::{Complaint, Refused};
use crate::config::{Config, to_yaml, yaml};
use crate::core::control::pair::Side;
use crate::core::control::{OperationError, PairConfigState};
use crate::core::events::What;
use crate::daemon::appliance::Appliance;
use crate::daemon::{configfile, lock};
use crate::files;
use crate::os::clock;
use crate::pair::copy::{Arrived, Copier, DOCUMENT_BYTES_MAX, Hash, Held, Lineage, Report, Revision, Standing};

/// Of the state directory.
const FILE: &str = "pair-config.json";
/// The configuration file as it was before it came from the other box.
const BEFORE: &str = ".before-copy";
/// Key of the alarm about configurations that are not the same.
const ALARM: &str = "pair-config";
/// What a text of the other box's is called in errors.
const THEIRS: &str = "the other box's configuration";

/// What this box holds, and the exchange with the other one.
pub struct Copying {
    path: PathBuf,
    held: Held,
    /// What the configuration file says, where that is an older revision: what is in force was not saved.
    saved: Option<Held>,
    copier: Arc<Mutex<Copier>>,
    copied: u64,
}

/// What is on disk. `next` is there while the configuration file is being replaced, `saved` while it says less than
/// what is in force: after a crash or a restart the file says which of them is true.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    version: u8,
    held: Kept,
    next: Option<Kept>,
    // Absent where there is none: a release that knows nothing of it reads the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved: Option<Kept>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    counter: u64,
    hash: String,
    lineage: Vec<(u64, String)>,
    off_duty: bool,
    text: String,
}

const VERSION: u8 = 1;

impl Kept {
    fn of(held: &Held) -> Self {
        Self {
            counter: held.revision.counter,
            hash: held.revision.hash.to_string(),
            lineage: held.lineage.iter().map(|one| (one.counter, one.hash.to_string())).collect(),
            off_duty: held.off_duty,
            text: held.text.clone(),
        }
    }

    /// With what its text says, as far as this release can read it.
    fn read(self) -> anyhow::Result<(Held, Option<Config>)> {
        let hash = |text: &str| Hash::from_hex(text).context("a hash is malformed");
        let revision = Revision { counter: self.counter, hash: hash(&self.hash)? };
        ensure!(Hash::of(self.text.as_bytes()) == revision.hash, "the text is not that of its hash");
        let forebears: anyhow::Result<Vec<Revision>> =
            self.lineage.into_iter().map(|(counter, text)| Ok(Revision { counter, hash: hash(&text)? })).collect();
        let config = yaml::read_part(FILE, &self.text).ok();
        let blank = config.as_ref().is_some_and(is_blank);
        let lineage = Lineage::of(forebears?);
        Ok((Held { revision, lineage, text: self.text, blank, off_duty: self.off_duty }, config))
    }
}

/// Those that were kept, each with what it says; what was in force last.
fn kept(path: &Path) -> anyhow::Result<Vec<(Held, Option<Config>)>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let on_disk: OnDisk = serde_json::from_slice(&bytes)?;
    if on_disk.version != VERSION {
        bail!("it is of version {}, which this release does not read", on_disk.version);
    }
    on_disk.next.into_iter().chain(on_disk.saved).chain([on_disk.held]).map(Kept::read).collect()
}

/// What a box holds whose file says `config`: what was kept, if that says the same, else a change of it.
fn held_now(kept: Vec<(Held, Option<Config>)>, config: &Config) -> Held {
    let (own, blank) = (common(config), is_blank(config));
    let same = |(_, said): &&(Held, Option<Config>)| said.as_ref() == Some(&own);
    if let Some((held, _)) = kept.iter().find(same) {
        return held.clone();
    }
    let text = to_yaml(&own);
    match kept.last() {
        // An empty file asks to be filled.
        Some((last, _)) if !blank => last.changed(text, blank, true),
        _ => Held::first(text, blank),
    }
}

impl Copying {
    /// What this box holds, by its configuration file and what was kept of it.
    fn open(state_dir: &Path, config: &Config) -> Self {
        let path = state_dir.join(FILE);
        let kept = kept(&path).unwrap_or_else(|error| {
            warn!("{} cannot be read, and is made anew: {error:#}", path.display());
            Vec::new()
        });
        let held = held_now(kept, config);
        if held.off_duty {
            warn!("pair: the configuration was changed while no daemon ran, as revision {}", held.revision);
        }
        let copier = Arc::new(Mutex::new(Copier::new(held.clone())));
        let this = Self { path, copier, held, saved: None, copied: 0 };
        this.keep_or_warn();
        this
    }

    fn keep(&self, next: Option<&Held>) -> anyhow::Result<()> {
        let saved = self.saved.as_ref().map(Kept::of);
        let on_disk = OnDisk { version: VERSION, held: Kept::of(&self.held), next: next.map(Kept::of), saved };
        files::replace(&self.path, &serde_json::to_vec(&on_disk)?, None)
    }

    fn keep_or_warn(&self) {
        if let Err(error) = self.keep(None) {
            warn!("the revision of the configuration could not be kept: {error:#}");
        }
    }

    fn hold(&mut self, held: Held) {
        lock(&self.copier).hold(held.clone());
        self.held = held;
        self.keep_or_warn();
    }

    /// The other box owns, and is heard to.
    fn peer_owns(&self) -> bool {
        lock(&self.copier).peer(clock::now()).is_some_and(|peer| peer.owns)
    }

    fn state(&self) -> PairConfigState {
        let report = lock(&self.copier).report(clock::now());
        let hash = |revision: &Revision| format!("{:016x}", revision.hash.word());
        PairConfigState {
            revision: self.held.revision.counter,
            hash: hash(&self.held.revision),
            standing: word(report.standing),
            trouble: trouble(&report, &self.held),
            peer_revision: report.peer.as_ref().map(|peer| peer.revision.counter),
            peer_hash: report.peer.as_ref().map(|peer| hash(&peer.revision)),
            progress: report.progress.map(|(came, of)| [came, of]),
            copied: self.copied,
        }
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Unheard => "unheard",
        Standing::Same => "same",
        Standing::Ahead => "ahead",
        Standing::Behind => "behind",
        Standing::OffDuty => "off_duty",
        Standing::PeerOffDuty => "peer_off_duty",
        Standing::Conflict => "conflict",
        Standing::Settling => "settling",
    }
}

/// What an operator must look at.
fn trouble(report: &Report, held: &Held) -> Option<String> {
    let how = "nothing is copied until an operator says which one counts, on both boxes: \
               POST /api/v1/pair/config {\"take\": \"own\"} or {\"take\": \"peer\"}";
    let peer = report.peer.as_ref()?;
    let revisions = format!("this box has revision {}, the other one {}", held.revision, peer.revision);
    let mib = DOCUMENT_BYTES_MAX >> 20;
    let too_large = |whose: &str| format!("the configuration of {whose} is larger than {mib} MiB, and is not copied");
    match report.standing {
        Standing::Conflict => {
            Some(format!("the configurations of the two boxes were changed apart from each other ({revisions}); {how}"))
        }
        Standing::OffDuty => {
            Some(format!("the configuration of this box was changed while it was not the owner ({revisions}); {how}"))
        }
        Standing::PeerOffDuty => Some(format!(
            "the configuration of the other box was changed while it was not the owner ({revisions}); {how}"
        )),
        Standing::Ahead if report.too_large => Some(too_large("this box")),
        Standing::Behind if peer.too_large => Some(too_large("the other box")),
        Standing::Ahead => report
            .peer_refused
            .as_ref()
            .map(|why| format!("the other box does not take this one's configuration: {why}")),
        Standing::Behind => {
            report.refused.as_ref().map(|why| format!("the other box's configuration is not taken: {why}"))
        }
        Standing::Unheard | Standing::Same | Standing::Settling => None,
    }
}

/// `own` with what the other box says of what both have; why that cannot be, in words.
fn with_theirs(text: &str, own: &Config) -> Result<Config, String> {
    let first = |refused: Refused| match refused.diagnostics.first() {
        // Lines are of a text that nobody sees.
        Some(error) if error.path.is_empty() => error.message.clone(),
        Some(error) => format!("{}: {}", error.path, error.message),
        None => refused.to_string(),
    };
    // A key that this release does not know ends the reading: nothing is left out in silence.
    let theirs = yaml::read_part(THEIRS, text).map_err(first)?;
    if common(&theirs) != theirs {
        return Err(format!("{THEIRS} says things that are of one box alone"));
    }
    let merged = merge(&theirs, own);
    let checked = yaml::parse(THEIRS, &to_yaml(&merged)).map_err(first)?;
    if checked.config != merged {
        return Err(format!("{THEIRS} cannot be written down by this release"));
    }
    Ok(merged)
}

impl Appliance {
    /// For a box with a pair: what it holds of the configuration that both have. Before the pair is started.
    pub fn open_copying(&mut self, state_dir: &Path) {
        self.copying = self.config.pair.is_some().then(|| Copying::open(state_dir, &self.config));
    }

    pub fn copier(&self) -> Option<Arc<Mutex<Copier>>> {
        self.copying.as_ref().map(|copying| copying.copier.clone())
    }

    /// What heartbeats say of the configuration: the same on two boxes that have the same.
    pub fn common_revision(&self) -> u64 {
        self.copying.as_ref().map_or(0, |copying| copying.held.revision.hash.word())
    }

    pub fn config_state(&self) -> PairConfigState {
        self.copying.as_ref().map(Copying::state).unwrap_or_default()
    }

    /// Version of lbd that the other box runs, as it said within the last seconds.
    pub fn peer_release(&self) -> Option<String> {
        let copying = self.copying.as_ref()?;
        lock(&copying.copier).peer(clock::now())?.release
    }

    /// Whether what both boxes have may be changed on this one.
    pub fn is_changed_here(&self) -> Result<(), String> {
        let elsewhere = !self.is_owner() && self.copying.as_ref().is_some_and(Copying::peer_owns);
        if elsewhere {
            Err("this box is the standby; the owner of the pair has it done, and copies it here".into())
        } else {
            Ok(())
        }
    }

    /// Whether a configuration that an operator has written may come into force here.
    pub fn may_come_into_force(&self, wanted: &Config) -> Result<(), Refused> {
        if self.copying.is_none() || common(wanted) == common(&self.config) {
            return Ok(());
        }
        let refused = |complaint| Err(Refused::whole(&self.path.display().to_string(), complaint));
        if self.is_changed_here().is_err() {
            let complaint =
                Complaint::new("this box is the standby of a pair: what both boxes have is changed on the owner").help(
                    "make the change there, it is copied here; of this box alone are `hostname`, `interfaces` without \
                     `inside`, `pair`, `limits` and `http`",
                );
            return refused(complaint);
        }
        if is_blank(wanted) && !is_blank(&self.config) {
            let complaint =
                Complaint::new("without servers, pools and virtual servers this box would be filled again by its peer")
                    .help("leave a server in it; or remove `pair` from both boxes and restart lbd");
            return refused(complaint);
        }
        Ok(())
    }

    /// An operator's change is in force: the other box is to have it.
    pub fn tell_change(&mut self) {
        let (own, owns) = (common(&self.config), self.is_owner());
        let is_saved = common(&self.saved) == own;
        let Some(copying) = &mut self.copying else { return };
        let blank = is_blank(&own);
        // What is of this box alone may be all that has changed.
        let said = yaml::read_part(FILE, &copying.held.text).ok();
        if said.as_ref() != Some(&own) {
            if is_saved {
                copying.saved = None;
            } else if copying.saved.is_none() {
                copying.saved = Some(copying.held.clone());
            }
            let held = copying.held.changed(to_yaml(&own), blank, !owns);
            info!("pair: the configuration is revision {} now", held.revision);
            copying.hold(held);
        }
        // What was refused may fit into what is of this box now.
        lock(&copying.copier).retry();
    }

    /// The configuration file says what is in force.
    pub fn tell_saved(&mut self) {
        if let Some(copying) = &mut self.copying {
            copying.saved = None;
            copying.keep_or_warn();
        }
    }

    /// Does what is due about the configuration that both boxes have.
    pub fn attend_to_copy(&mut self) {
        let owns = self.is_owner();
        let Some(copying) = &mut self.copying else { return };
        let arrived = {
            let mut copier = lock(&copying.copier);
            copier.set_owns(owns);
            copier.take_arrived()
        };
        if let Some(arrived) = arrived
            && let Err(why) = self.take_copy(&arrived)
        {
            warn!("pair: revision {} of the other box is not taken: {why}", arrived.document.revision);
            if let Some(copying) = &self.copying {
                lock(&copying.copier).refuse(&why, clock::now());
            }
        }
        let Some(copying) = &mut self.copying else { return };
        let report = lock(&copying.copier).report(clock::now());
        if copying.held.off_duty && (owns || report.standing == Standing::Same) {
            // It is in force where it counts.
            copying.hold(Held { off_duty: false, ..copying.held.clone() });
        }
        let words = trouble(&report, &copying.held).unwrap_or_default();
        self.set_alarm(ALARM, words);
    }

    /// Puts in force what has come from the other box: checked as a whole, the file replaced first. On any error, in
    /// words for the operators of both, nothing has changed.
    fn take_copy(&mut self, arrived: &Arrived) -> Result<(), String> {
        let Some(copying) = &mut self.copying else { return Ok(()) };
        if arrived.replaces != copying.held.revision {
            lock(&copying.copier).retry();
            return Ok(());
        }
        let document = &arrived.document;
        let merged = with_theirs(&document.text, &self.config)?;
        // What is of this box alone may be in force and not saved.
        let saved = with_theirs(&document.text, &self.saved)?;
        let held = copying.held.replaced(document, is_blank(&merged));
        if saved != self.saved {
            let replacement = configfile::prepare_copy(&self.path, &self.saved, &saved);
            let replacement = replacement.map_err(|error| error.to_string())?;
            copying.keep(Some(&held)).map_err(|error| format!("{error:#}"))?;
            replacement.write(BEFORE).map_err(|error| error.to_string())?;
            self.events.record(What::ConfigCopied { revision: held.revision.to_string() });
            self.saved = saved;
        }
        if merged != self.config {
            self.rebase_hold(&merged);
            self.bring_into_force(merged).iter().for_each(|note| warn!("{note}"));
        }
        if let Some(copying) = &mut self.copying {
            copying.saved = None;
            copying.copied += 1;
            copying.hold(held);
        }
        Ok(())
    }

    /// An operator says which of two configurations counts. It is on its way when this returns.
    pub fn choose_config(&mut self, side: Side) -> Result<(), OperationError> {
        let Some(copying) = &mut self.copying else { return Err(OperationError::NoPair) };
        let refused = |words: &str| Err(OperationError::NoConfigChoice(words.to_owned()));
        let now = clock::now();
        let (standing, peer) = {
            let copier = lock(&copying.copier);
            (copier.standing(now), copier.peer(now))
        };
        let Some(peer) = peer else { return refused("the other box is not heard") };
        match (standing, side) {
            (Standing::Same, _) => return refused("both boxes have the same"),
            (Standing::Ahead, Side::Own) => return refused("this box's is the newer one, and the other box takes it"),
            (_, Side::Own) if copying.held.blank => return refused("this box has none; it takes the other one's"),
            (_, Side::Peer) if peer.blank => return refused("the other box has none; it takes this one's"),
            (_, Side::Own) => {
                let held = copying.held.preferred_to(peer.revision);
                info!("pair: by order this box's configuration counts, as revision {}", held.revision);
                copying.hold(held);
            }
            (_, Side::Peer) => {
                info!("pair: by order revision {} of the other box counts", peer.revision);
                lock(&copying.copier).yield_to_peer(now);
            }
        }
        Ok(())
    }

    /// Of the configuration that the data plane has; none while it is being brought there.
    pub fn settled_revision(&self) -> Option<u64> {
        self.is_settled().then_some(self.revision)
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
