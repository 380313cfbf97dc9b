//! The configuration, changed by whoever types it: what is in force beside what the file says.

use std::sync::Arc;

use super::appliance::Appliance;
use super::configfile;
use super::control::failed;
use crate::config::common::merge;
use crate::config::{Config, Running, yaml};
use crate::core::control::editing::{Change, ConfigError, ConfigOrder, Editor, Hold, InForce, Which};
use crate::core::control::{OperationError, ReloadReport, Saved};
use crate::core::events::What;
use crate::core::moment::Moment;
use crate::os::clock;

/// The file as it was before it was saved over.
const BEFORE: &str = ".bak";
/// Key of the alarm about a configuration that waits to be confirmed.
const ALARM: &str = "confirm";

/// A configuration that becomes what it was unless it is confirmed.
pub struct Held {
    by: Editor,
    before: Running,
    until: Moment,
}

impl Held {
    fn told(&self) -> Hold {
        Hold { by: self.by.clone(), left: self.until.since(clock::now()) }
    }
}

impl Appliance {
    fn running(&self) -> Running {
        Running { config: self.config.clone(), inactive: self.inactive.clone() }
    }

    pub fn in_force(&self) -> InForce {
        InForce {
            running: self.running(),
            revision: self.revision,
            unsaved: self.is_unsaved(),
            hold: self.held.as_ref().map(Held::told),
            elsewhere: self.is_changed_here().err(),
        }
    }

    /// What is in force, or waits to be complete, is not what the file says.
    pub fn is_unsaved(&self) -> bool {
        self.config != self.saved || !self.inactive.is_empty()
    }

    /// Puts a change in force. On any error nothing has changed.
    pub fn configure(&mut self, change: Change) -> Result<ReloadReport, ConfigError> {
        self.may_be_changed_by(&change.by)?;
        if change.revision != self.revision {
            return Err(ConfigError::Changed(self.revision));
        }
        self.may_come_into_force(&change.running.config)?;
        let report = self.take_running(change.running);
        if report.changed {
            self.tell_configured(&change.by.name);
        }
        Ok(report)
    }

    fn may_be_changed_by(&self, by: &Editor) -> Result<(), ConfigError> {
        match &self.held {
            Some(held) if held.by.session != by.session => Err(ConfigError::Held(held.told())),
            _ => Ok(()),
        }
    }

    /// What waits to be confirmed is not mixed with what stays.
    pub(super) fn may_be_changed_at_all(&self) -> Result<(), String> {
        self.held.as_ref().map_or(Ok(()), |held| Err(ConfigError::Held(held.told()).to_string()))
    }

    fn take_running(&mut self, running: Running) -> ReloadReport {
        let mut notes = Vec::new();
        let changed = running.config != self.config || running.inactive != self.inactive;
        self.inactive = running.inactive;
        if running.config != self.config {
            notes = self.bring_into_force(running.config);
            // What is not confirmed stays on this box.
            if self.held.is_none() {
                self.tell_change();
            }
        } else if changed {
            self.revision += 1;
        }
        ReloadReport { revision: self.revision, changed, notes }
    }

    /// Carries out what is ordered about the configuration as a whole.
    pub fn config_order(&mut self, by: &Editor, order: ConfigOrder) -> Result<Vec<String>, ConfigError> {
        // Whoever had to log in anew to see whether he still can is the one who confirms.
        if !matches!(order, ConfigOrder::Confirm | ConfigOrder::Revert) {
            self.may_be_changed_by(by)?;
        }
        match order {
            ConfigOrder::Hold(time) => {
                let until = clock::now() + time;
                // Of an operator who says it again the first configuration counts, and the new time.
                let before = self.held.take().map_or_else(|| self.running(), |held| held.before);
                self.events.record(What::ConfigHeld { by: by.name.clone(), seconds: time.as_secs() });
                self.held = Some(Held { by: by.clone(), before, until });
                let words = format!("{} changes the configuration, and has not confirmed it yet", by.name);
                self.set_alarm(ALARM, words);
                Ok(Vec::new())
            }
            ConfigOrder::Confirm => {
                self.held.take().ok_or(ConfigError::NotHeld)?;
                self.events.record(What::ConfigConfirmed { by: by.name.clone() });
                self.set_alarm(ALARM, String::new());
                self.tell_change();
                Ok(Vec::new())
            }
            ConfigOrder::Revert => self.revert(&format!("by {}", by.name)),
            ConfigOrder::Save => self.save(by),
            ConfigOrder::Load => {
                let report = self.reload()?;
                Ok(report.notes)
            }
        }
    }

    fn revert(&mut self, why: &str) -> Result<Vec<String>, ConfigError> {
        let held = self.held.take().ok_or(ConfigError::NotHeld)?;
        self.set_alarm(ALARM, String::new());
        let report = self.take_running(held.before);
        self.events.record(What::ConfigReverted { by: held.by.name, why: why.to_owned() });
        Ok(report.notes)
    }

    /// What was to be confirmed, and was not, is taken back when its time is over.
    pub fn look_at_hold(&mut self) {
        if self.held.as_ref().is_some_and(|held| held.until <= clock::now()) {
            // There is one to be taken back.
            _ = self.revert("because it was not confirmed in time");
        }
    }

    /// When there is something to do about it.
    pub(super) fn next_of_hold(&self) -> Option<Moment> {
        self.held.as_ref().map(|held| held.until)
    }

    /// What both boxes of a pair have came from the other one: it is not taken back.
    pub(super) fn rebase_hold(&mut self, merged: &Config) {
        if let Some(held) = &mut self.held {
            held.before.config = merge(merged, &held.before.config);
        }
    }

    /// Another file has come into force: nobody waits for a confirmation any more.
    pub(super) fn forget_hold(&mut self) -> Option<String> {
        let held = self.held.take()?;
        self.set_alarm(ALARM, String::new());
        Some(format!("the changes of {} were not confirmed, and are dropped", held.by.name))
    }

    /// Has the file say what is in force.
    fn save(&mut self, by: &Editor) -> Result<Vec<String>, ConfigError> {
        if self.held.is_some() {
            return Err(ConfigError::NotConfirmed);
        }
        let notes = self
            .inactive
            .iter()
            .map(|one| format!("not saved, because it is not complete: {}: {}", one.path.join(" "), one.lacks))
            .collect();
        if self.config == self.saved {
            return Ok(notes);
        }
        let replacement = configfile::prepare_copy(&self.path, &self.saved, &self.config).map_err(failed)?;
        self.store.archive.keep(replacement.before()).map_err(|error| failed(format!("the archive: {error:#}")))?;
        replacement.write(BEFORE).map_err(failed)?;
        self.events.record(What::Saved { by: by.name.clone(), file: self.path.display().to_string() });
        self.saved = self.config.clone();
        self.tell_saved();
        Ok(notes)
    }

    pub fn on_disk(&self, which: Which) -> Result<Arc<Config>, ConfigError> {
        let path = match which {
            Which::Startup => self.path.clone(),
            Which::Archived(number) => {
                let there = self.archived()?.iter().any(|saved| saved.number == number);
                if !there {
                    return Err(ConfigError::NotArchived(number));
                }
                self.store.archive.file(number)
            }
        };
        Ok(Arc::new(yaml::load(&path)?.config))
    }

    pub fn archived(&self) -> Result<Vec<Saved>, ConfigError> {
        let found = self.store.archive.list();
        found.map_err(|error| OperationError::Failed(format!("the archive cannot be read: {error}")).into())
    }
}
