//! Orders about servers and members: taken from the faces, carried on in the course of time.
//!
//! What is to be done when is decided in `core::drain`; here it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{error, warn};

use super::appliance::Appliance;
use super::configfile::{self, Replacement};
use super::control::failed;
use super::lock;
use crate::config::suggest::nearest;
use crate::config::{Config, Loaded, Name, Pool, Protocol, Service, edit, to_yaml, yaml};
use crate::core::admin::{AdminState, Order, Subject, Then};
use crate::core::control::editing::told;
use crate::core::control::shortage::{Counted, shortages};
use crate::core::control::state::OrderState;
use crate::core::control::{self, Action, OperationError, OrderReport, Shortage};
use crate::core::drain::{self, View};
use crate::core::events::What;
use crate::core::forwarding::DestKey;
use crate::core::moment::{Moment, UnixTime};
use crate::core::plan::Standing;
use crate::dataplane::{ConnectionCounts, DataPlaneError};
use crate::os::clock;

/// Key of the alarm about removals that were refused.
const ALARM: &str = "removal";

/// Drains under way, and what of their end did not work.
#[derive(Default)]
pub struct Drains {
    course: drain::Drains,
    /// Removals that were refused, and why; they are tried again.
    refused: BTreeMap<Subject, String>,
}

/// How far an order is when `carry_out` returns.
pub enum Course {
    Done(OrderReport),
    /// Removed by force: connections are being reset.
    Resetting {
        subject: Subject,
        report: OrderReport,
    },
}

impl Drains {
    /// When to look again though nothing happens.
    pub fn next(&self) -> Option<Moment> {
        self.course.next()
    }
}

impl Appliance {
    /// Lets every drain do what is due. For the loop, after each turn; does nothing before its time.
    pub fn look_at_drains(&mut self) {
        let now = clock::now();
        let is_due = self.drains.next().is_some_and(|next| next <= now);
        let is_new = || {
            let mut drained = self.admin.orders().filter(|(_, order)| order.state == AdminState::Draining);
            drained.any(|(subject, _)| !self.drains.course.knows(subject))
        };
        if !self.is_settled() || !(is_due || is_new()) {
            return;
        }
        let counts = lock(&self.dataplane).connections();
        let left = self.admin.orders().map(|(subject, _)| (subject.clone(), self.left(subject, &counts))).collect();
        let view = View { admin: &self.admin, left: &left, now, calendar: clock::calendar() };
        for action in self.drains.course.look(&view) {
            match action {
                drain::Action::Finished(subject) => self.events.record(What::Drained { subject: subject.to_string() }),
                drain::Action::Reset(subject) => match self.reset(&subject) {
                    Ok(connections) => {
                        self.events.record(What::DrainCut { subject: subject.to_string(), connections });
                    }
                    Err(error) => error!("the connections of {subject} could not be reset: {error}"),
                },
                drain::Action::Remove(subject) => self.remove_at_end(&subject),
            }
        }
        self.tell_of_refusals();
    }

    /// The end of a drain: on any error it stays drained, and the alarm says why.
    fn remove_at_end(&mut self, subject: &Subject) {
        if self.copying.is_some() && !self.is_owner() {
            // The owner of the pair does it, and the configuration without it comes from there.
            return;
        }
        match self.remove(subject) {
            Ok(notes) => {
                self.events.record(What::Removed { subject: subject.to_string(), connections: 0 });
                notes.iter().for_each(|note| warn!("{note}"));
            }
            Err(why) => {
                if self.drains.refused.insert(subject.clone(), why.clone()).as_ref() != Some(&why) {
                    self.events.record(What::RemovalRefused { subject: subject.to_string(), why });
                }
            }
        }
    }

    fn tell_of_refusals(&mut self) {
        let admin = &self.admin;
        self.drains.refused.retain(|subject, _| admin.order(subject).is_some_and(|order| order.then == Then::Remove));
        if self.drains.refused.is_empty() {
            self.alarms.remove(ALARM);
            return;
        }
        let again = drain::REMOVE_AGAIN.as_secs();
        let refused = self.drains.refused.iter();
        let texts: Vec<String> = refused
            .map(|(subject, why)| {
                format!(
                    "{subject} is drained and was to be taken out of the configuration: {why}; tried again every {again} s"
                )
            })
            .collect();
        self.alarms.insert(ALARM, texts.join("; "));
    }

    /// Takes it out of the file and loads that; what the operator should know. On any error nothing has changed.
    fn remove(&mut self, subject: &Subject) -> Result<Vec<String>, String> {
        self.is_changed_here()?;
        let (wanted, file) = self.prepare_removal(subject)?;
        let mut notes = Vec::new();
        if let Some(file) = file {
            let backup = file.write(".bak").map_err(|error| error.to_string())?;
            notes.push(format!("the file before is kept as {}", backup.display()));
            self.saved = edit::meant(&self.saved, subject.pool(), subject.server());
        }
        notes.extend(wanted.warnings.iter().map(|warning| format!("{}: {}", warning.path, warning.message)));
        notes.extend(self.bring_into_force(wanted.config));
        self.tell_change();
        if let Err(error) = self.settle() {
            notes.push(format!("it is out of the configuration, but the data plane still has it: {error}"));
        }
        Ok(notes)
    }

    /// What is in force without a subject, and the file without it, where it has it.
    fn prepare_removal(&self, subject: &Subject) -> Result<(Loaded, Option<Replacement>), String> {
        self.may_be_changed_at_all()?;
        let file = if subject.is_configured(&self.saved) {
            let prepared = configfile::prepare(&self.path, &self.saved, subject);
            Some(prepared.map_err(|error| error.to_string())?)
        } else {
            None
        };
        let wanted = edit::meant(&self.config, subject.pool(), subject.server());
        let read = yaml::parse("the configuration without it", &to_yaml(&wanted));
        Ok((read.map_err(|refused| told(&refused))?, file))
    }

    /// Has what is left on a subject ended: a reset to each end of a connection, UDP flows scheduled anew. How
    /// many connections that are; the thread of resets does it.
    fn reset(&mut self, subject: &Subject) -> Result<u64, DataPlaneError> {
        let counts = lock(&self.dataplane).connections();
        let of_it = counts.iter().filter(|(key, _)| self.belongs(subject, key));
        let ended = of_it.map(|(_, count)| count.active).sum();
        if self.admin.set_overdue(subject) {
            self.replan()?;
        }
        lock(&self.dataplane).force_reset(subject.server());
        Ok(ended)
    }

    /// Whether a destination is part of a subject.
    fn belongs(&self, subject: &Subject, key: &DestKey) -> bool {
        match pool_of(&self.config, key) {
            Some(pool) => subject.covers(pool, &key.server),
            None => subject.pool().is_none() && *subject.server() == key.server,
        }
    }

    fn left(&self, subject: &Subject, counts: &BTreeMap<DestKey, ConnectionCounts>) -> u64 {
        let of_it = counts.iter().filter(|(key, _)| self.belongs(subject, key));
        of_it.map(|(_, count)| count.active + count.pending).sum()
    }

    /// Services that would have nobody left for new connections without it, as `virtual-server/service`.
    fn left_empty_without(&self, subject: &Subject) -> Vec<String> {
        let members = &self.plan.members;
        let able = members.iter().filter(|(_, s)| s.is_scheduled() || **s == Standing::BackupIdle).map(|(key, _)| key);
        let (own, others): (Vec<&DestKey>, Vec<&DestKey>) = able.partition(|key| self.belongs(subject, key));
        let served: BTreeSet<_> = others.into_iter().map(|key| &key.service).collect();
        let mut empty: Vec<String> = own
            .into_iter()
            .filter(|key| !served.contains(&key.service))
            .map(|key| format!("{}/{}", key.service.virtual_server, key.service.service))
            .collect();
        empty.dedup();
        empty
    }

    /// Pools that would have fewer members up than they need without it.
    fn below_minimum_without(&self, subject: &Subject) -> Vec<Shortage> {
        let members = self.plan.members.iter().filter_map(|(key, standing)| {
            let pool = pool_of(&self.config, key)?;
            Some(Counted { pool, service: &key.service, standing, goes: subject.covers(pool, &key.server) })
        });
        shortages(&self.config.pools, members)
    }

    /// Carries out an operator's order; it is in force in the data plane when this returns. A removal by force
    /// has its second part in `finish_removal`.
    pub fn carry_out(&mut self, order: &control::Order) -> Result<Course, OperationError> {
        let subject = self.subject(order)?;
        let before = self.admin.of(&subject);
        if order.action != Action::Enable && !order.force {
            let services = self.left_empty_without(&subject);
            if !services.is_empty() {
                return Err(OperationError::LastMember { server: order.server.clone(), services });
            }
            let pools = self.below_minimum_without(&subject);
            if !pools.is_empty() {
                return Err(OperationError::BelowMinimum { server: order.server.clone(), pools });
            }
        }
        let mut report = OrderReport {
            server: order.server.clone(),
            pool: order.pool.clone(),
            before,
            state: before,
            connections: 0,
            cut: 0,
            deadline_at: None,
            then: Then::Nothing,
            removed: false,
            notes: Vec::new(),
        };
        match order.action {
            Action::Enable => {
                let mut admin = self.admin.clone();
                admin.enable(&subject, clock::now());
                self.put_in_force(admin)?;
                report.notes = self.still_out(&subject);
            }
            Action::Disable => self.take_out(&subject, AdminState::Disabled, None, Then::Nothing)?,
            Action::Drain { deadline, then } => self.take_out(&subject, AdminState::Draining, deadline, then)?,
            Action::Remove => {
                self.may_be_removed(&subject, order)?;
                if self.left(&subject, &lock(&self.dataplane).connections()) > 0 {
                    self.take_out(&subject, AdminState::Draining, Some(Duration::ZERO), Then::Remove)?;
                    report.state = AdminState::Draining;
                    report.cut = self.reset(&subject).map_err(failed)?;
                    return Ok(Course::Resetting { subject, report });
                }
                return self.finish_removal(&subject, report).map(Course::Done);
            }
        }
        report.connections = self.left(&subject, &lock(&self.dataplane).connections());
        report.state = self.admin.of(&subject);
        let in_force = self.admin.order(&subject);
        report.deadline_at = in_force.and_then(|order| order.deadline).map(UnixTime::as_secs);
        report.then = in_force.map(|order| order.then).unwrap_or_default();
        let (from, to) = (before, report.state);
        self.events.record(What::Ordered { subject: subject.to_string(), from, to });
        self.tell_of_refusals();
        Ok(Course::Done(report))
    }

    /// Whether a removal can be done, before anybody loses a connection.
    fn may_be_removed(&self, subject: &Subject, order: &control::Order) -> Result<(), OperationError> {
        let connections = self.left(subject, &lock(&self.dataplane).connections());
        // A member whose server is drained is drained too.
        let state = match subject {
            Subject::Server(server) => self.admin.of_server(server),
            Subject::Member { pool, server } => self.admin.of_member(pool, server),
        };
        let server = order.server.clone();
        if !order.force && (state == AdminState::Enabled || connections > 0) {
            return Err(OperationError::NotDrained { server, state, connections });
        }
        let possible = self.is_changed_here().and_then(|()| self.prepare_removal(subject).map(drop));
        possible.map_err(|why| OperationError::NotRemoved { server, why })
    }

    /// Takes it out of the configuration, when its connections have ended. If that is refused it stays drained, and
    /// the removal is tried again.
    pub fn finish_removal(&mut self, subject: &Subject, report: OrderReport) -> Result<OrderReport, OperationError> {
        let cut = report.cut;
        if !subject.is_configured(&self.config) {
            // The drain came to its own end meanwhile.
            return Ok(OrderReport { removed: true, connections: 0, ..report });
        }
        let notes = self.remove(subject).map_err(|why| OperationError::NotRemoved {
            server: report.server.clone(),
            why: if cut > 0 { format!("{why}; it is drained, and {cut} connections were reset") } else { why },
        })?;
        self.events.record(What::Removed { subject: subject.to_string(), connections: cut });
        self.tell_of_refusals();
        Ok(OrderReport { removed: true, connections: 0, notes, ..report })
    }

    /// Whether the connections of a server that were to be reset are.
    pub fn is_reset(&self, server: &Name) -> bool {
        lock(&self.dataplane).reset_of(server).is_none_or(|reset| reset.done)
    }

    fn take_out(
        &mut self,
        subject: &Subject,
        state: AdminState,
        deadline: Option<Duration>,
        then: Then,
    ) -> Result<(), OperationError> {
        let since = clock::calendar();
        let order = Order {
            state,
            since,
            deadline: deadline.map(|deadline| since + deadline),
            then,
            connections_at_begin: self.left(subject, &lock(&self.dataplane).connections()),
        };
        let mut admin = self.admin.clone();
        admin.put(subject, order);
        self.put_in_force(admin)
    }

    /// At once, so that no new connection meets the old plan after our answer.
    fn put_in_force(&mut self, admin: crate::core::admin::Admin) -> Result<(), OperationError> {
        self.set_admin(admin).map_err(|error| failed(format!("{error:#}")))?;
        self.settle().map_err(failed)
    }

    /// What keeps an enabled subject out all the same.
    fn still_out(&self, subject: &Subject) -> Vec<String> {
        let others = self.admin.orders().filter(|(other, _)| other.server() == subject.server() && *other != subject);
        let relevant = others.filter(|(other, _)| subject.pool().is_none() || other.pool().is_none());
        relevant.map(|(other, order)| format!("{other} is {} by an order of its own", order.state)).collect()
    }

    /// Whom an order is about.
    fn subject(&self, order: &control::Order) -> Result<Subject, OperationError> {
        let config = &self.config;
        let suggestion = |text: &str, names: Vec<&Name>| {
            nearest(shortened(text), names.into_iter().map(Name::as_str)).map(str::to_owned)
        };
        let server = Name::new(&order.server).ok().filter(|name| config.servers.contains_key(name));
        let server = server.ok_or_else(|| OperationError::NoSuchServer {
            name: order.server.clone(),
            suggestion: suggestion(&order.server, config.servers.keys().collect()),
        })?;
        let Some(pool_text) = &order.pool else { return Ok(Subject::Server(server)) };
        let pool = Name::new(pool_text).ok().and_then(|name| config.pools.get_key_value(&name));
        let (pool, entry) = pool.ok_or_else(|| OperationError::NoSuchPool {
            name: pool_text.clone(),
            suggestion: suggestion(pool_text, config.pools.keys().collect()),
        })?;
        if entry.members.iter().any(|member| member.server == server) {
            return Ok(Subject::Member { pool: pool.clone(), server });
        }
        Err(OperationError::NotAMember {
            server: order.server.clone(),
            pool: pool_text.clone(),
            members: entry.members.iter().map(|member| member.server.to_string()).collect(),
        })
    }
}

/// As much of what an operator wrote as can be a name.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(Name::LENGTH_MAX).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// The pool through which a service has its destination: its own, the one that it migrates to, or a backup
/// pool of either. `None` when service or member have left.
fn pool_of<'a>(config: &'a Config, key: &DestKey) -> Option<&'a Name> {
    let services = &config.virtual_servers.get(&key.service.virtual_server)?.services;
    let mut pools = pools_of(config, services.get(&key.service.service)?).into_iter();
    pools.find(|(_, pool)| pool.members.iter().any(|member| member.server == key.server)).map(|(name, _)| name)
}

fn pools_of<'a>(config: &'a Config, service: &'a Service) -> Vec<(&'a Name, &'a Pool)> {
    let pool = |name: &'a Name| Some((name, config.pools.get(name)?));
    let own = pool(&service.pool);
    let other = own.and_then(|(_, own)| pool(&own.migrate.as_ref()?.to));
    let with_backup = |entry: Option<(&'a Name, &'a Pool)>| {
        let backup = entry.and_then(|(_, entry)| pool(entry.backup_pool.as_ref()?));
        entry.into_iter().chain(backup)
    };
    with_backup(own).chain(with_backup(other)).collect()
}

/// The orders in force and how far they have come, for the state.
pub fn states(appliance: &Appliance, counts: &BTreeMap<DestKey, ConnectionCounts>) -> Vec<OrderState> {
    let (now, calendar) = (clock::now(), clock::calendar());
    let at = |wait: Option<Duration>| wait.map(|wait| (calendar + wait).as_secs());
    let state = |(subject, order): (&Subject, &Order)| {
        let progress = appliance.drains.course.progress(subject, now);
        let projection = progress.map(|progress| progress.projection).unwrap_or_default();
        let ahead = |end: Option<Duration>| at(end).filter(|_| progress.is_some_and(|progress| !progress.finished));
        OrderState {
            server: subject.server().to_string(),
            pool: subject.pool().map(Name::to_string),
            admin: order.state,
            since: order.since.as_secs(),
            connections_at_begin: order.connections_at_begin,
            connections: appliance.left(subject, counts),
            finished: progress.is_some_and(|progress| progress.finished),
            deadline_at: order.deadline.map(UnixTime::as_secs),
            then: order.then,
            end_earliest_at: ahead(projection.earliest),
            end_likely_at: ahead(projection.likely),
            end_latest_at: ahead(projection.latest),
            idle_timeout_seconds: idle_timeout(&appliance.config, subject).as_secs(),
        }
    };
    appliance.admin.orders().map(state).collect()
}

/// After how long without a packet from its client the last connection of a subject is forgotten.
fn idle_timeout(config: &Config, subject: &Subject) -> Duration {
    let services = config.virtual_servers.values().flat_map(|virtual_server| virtual_server.services.values());
    let has_it = |service: &Service| {
        let mut pools = pools_of(config, service).into_iter();
        pools.any(|(name, pool)| pool.members.iter().any(|member| subject.covers(name, &member.server)))
    };
    let timeouts = services.filter(|service| has_it(service)).map(|service| match service.protocol {
        Protocol::Tcp => service.timeouts.established.max(service.timeouts.closing),
        Protocol::Udp => service.timeouts.udp,
    });
    timeouts.max().unwrap_or_default()
}
