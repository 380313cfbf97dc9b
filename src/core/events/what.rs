//! All the events that there are: one row for each. docs/logging.md lists them; a test holds the page against this table.

use std::fmt;

use super::{Class, Severity};
use crate::core::admin::AdminState;
use crate::core::check::State;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: &'static str,
    pub class: Class,
    pub severity: Severity,
    /// Names of its fields.
    pub fields: &'static [&'static str],
    /// What it says, as a sentence.
    pub meaning: &'static str,
}

macro_rules! events {
    ($(
        #[doc = $meaning:literal]
        $variant:ident { $($field:ident: $type:ty),* } = $name:literal, $class:ident, $severity:ident, $text:literal;
    )*) => {
        /// Something that happens, where it happens.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum What {
            $( #[doc = $meaning] $variant { $($field: $type),* }, )*
        }

        impl What {
            /// Every event that there is.
            pub const ALL: &'static [Described] = &[
                $( Described {
                    name: $name,
                    class: Class::$class,
                    severity: Severity::$severity,
                    fields: &[$(stringify!($field)),*],
                    meaning: $meaning,
                }, )*
            ];

            /// Its word, stable between releases.
            pub fn name(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $name, )* }
            }

            pub fn class(&self) -> Class {
                match self { $( Self::$variant { .. } => Class::$class, )* }
            }

            pub fn severity(&self) -> Severity {
                match self { $( Self::$variant { .. } => Severity::$severity, )* }
            }

            /// What it is about, by name.
            pub fn fields(&self) -> Vec<(&'static str, String)> {
                match self {
                    $( Self::$variant { $($field),* } => vec![$( (stringify!($field), $field.to_string()) ),*], )*
                }
            }
        }

        impl fmt::Display for What {
            #[allow(unused_variables, reason = "not every field is in the words")]
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $( Self::$variant { $($field),* } => write!(f, $text), )* }
            }
        }
    };
}

events! {
    /// A check of a server fails, and counts: it was up or unknown, and is down.
    CheckDown { server: String, check: String, from: State, why: String } = "check-down", Health, Warning, "{check}: {from} -> down: {why}";
    /// A check of a server succeeds, and counts: it was down or unknown, and is up.
    CheckUp { server: String, check: String, from: State, why: String } = "check-up", Health, Notice, "{check}: {from} -> up: {why}";
    /// No member of a service takes new connections any more.
    ServiceDown { service: String, family: String } = "service-down", Health, Error, "{service} ({family}): nobody takes new connections";
    /// A member of a service takes new connections again.
    ServiceUp { service: String, family: String } = "service-up", Health, Notice, "{service} ({family}): takes new connections";
    /// Servers may be behind what has failed, and are asked at once.
    Suspected { addresses: usize, checks: usize } = "suspected", Health, Warning, "{addresses} addresses of servers may be behind what has failed: {checks} probes at once";

    /// This box owns the virtual addresses from now on.
    OwnerBecame { } = "owner-became", Pair, Warning, "this box owns the virtual addresses now";
    /// This box owns the virtual addresses no longer.
    OwnerCeased { } = "owner-ceased", Pair, Warning, "this box owns the virtual addresses no longer";
    /// The state of this box in the pair is another one.
    PairState { from: String, to: String } = "pair-state", Pair, Notice, "this box is {to}, it was {from}";
    /// Nothing came on a path of heartbeats for the dead interval.
    PathDown { path: String, trouble: String } = "path-down", Pair, Warning, "heartbeats do not come by path {path}{trouble}";
    /// Heartbeats come on a path again.
    PathUp { path: String } = "path-up", Pair, Notice, "heartbeats come by path {path}";
    /// The other box could not take over.
    PeerUnready { why: String } = "peer-unready", Pair, Warning, "the other box could not take over: {why}";
    /// The other box could take over.
    PeerReady { } = "peer-ready", Pair, Notice, "the other box could take over";
    /// Something about the pair that an operator should know.
    PairAlarm { alarm: String, words: String } = "pair-alarm", Pair, Warning, "{words}";
    /// An order about who of the pair owns.
    PairOrder { order: String } = "pair-order", Pair, Notice, "the pair was ordered: {order}";

    /// A port of the data plane does not forward any more: its link is down, or its bridge blocks it.
    PortDown { port: String } = "port-down", Link, Warning, "port {port} does not forward any more";
    /// A port of the data plane forwards.
    PortUp { port: String } = "port-up", Link, Notice, "port {port} forwards";

    /// An operator has enabled, drained or disabled a server or a member.
    Ordered { subject: String, from: AdminState, to: AdminState } = "ordered", Order, Notice, "{subject}: {from} -> {to} by the operator";
    /// A drain is at its end: nothing is left.
    Drained { subject: String } = "drained", Order, Notice, "{subject} is drained: nothing is left";
    /// The deadline of a drain is over, and what was left was reset.
    DrainCut { subject: String, connections: u64 } = "drain-cut", Order, Warning, "the deadline of {subject} is over: {connections} connections are reset";
    /// A server or a member was taken out of the configuration.
    Removed { subject: String, connections: u64 } = "removed", Order, Notice, "{subject} was taken out of the configuration; {connections} connections were reset";
    /// A server or a member that is drained could not be taken out of the configuration.
    RemovalRefused { subject: String, why: String } = "removal-refused", Order, Warning, "{subject} is drained and was to be taken out of the configuration: {why}";
    /// The orders are those of the other box of the pair.
    OrdersTaken { } = "orders-taken", Order, Info, "the orders of the other box of the pair are in force";

    /// Another configuration is in force.
    Configured { revision: u64, by: String } = "configured", Config, Notice, "the configuration is revision {revision} now, by {by}";
    /// The file says what is in force.
    Saved { by: String, file: String } = "saved", Config, Notice, "the configuration was saved as {file} by {by}";
    /// A configuration was refused, and nothing has changed.
    ConfigRefused { by: String, why: String } = "config-refused", Config, Error, "a configuration of {by} was refused: {why}";
    /// Somebody changes the configuration, and takes it back unless he confirms.
    ConfigHeld { by: String, seconds: u64 } = "config-held", Config, Notice, "the configuration is held by {by} for {seconds} s";
    /// What was to be confirmed is.
    ConfigConfirmed { by: String } = "config-confirmed", Config, Notice, "the configuration is confirmed by {by}";
    /// The configuration is what it was before somebody changed it.
    ConfigReverted { by: String, why: String } = "config-reverted", Config, Warning, "the configuration is what it was before {by} changed it, {why}";
    /// The configuration came from the other box of the pair.
    ConfigCopied { revision: String } = "config-copied", Config, Notice, "revision {revision} of the configuration came from the other box";

    /// Somebody has logged in.
    LoggedIn { user: String, from: String, how: String, level: u8 } = "logged-in", Login, Info, "{user} has logged in from {from} by {how}, level {level}";
    /// Somebody has gone.
    LoggedOut { user: String, from: String } = "logged-out", Login, Info, "{user} from {from} is gone";
    /// Somebody has become an administrator.
    Enabled { user: String, from: String } = "enabled", Login, Notice, "{user} from {from} is an administrator now";
    /// Somebody was not let in. Of a name that there is not nothing is kept: it may be a password.
    LoginFailed { user: String, from: String, what: String } = "login-failed", Denied, Warning, "{what} of {user} from {from}";
    /// Somebody wanted to become an administrator, and may not.
    EnableFailed { user: String, from: String } = "enable-failed", Denied, Warning, "{user} from {from} did not become an administrator";
    /// An address is blocked for a time.
    Blocked { from: String, seconds: u64 } = "blocked", Denied, Warning, "{from} is blocked for {seconds} s: too many failed logins";

    /// Something that an operator should look at; `show warnings` has it while it lasts.
    AlarmBegan { about: String, words: String } = "alarm-began", Alarm, Warning, "{words}";
    /// It is over.
    AlarmEnded { about: String, words: String } = "alarm-ended", Alarm, Notice, "no longer so: {words}";

    /// The daemon has started.
    Started { version: String, data_plane: String } = "started", Daemon, Notice, "lbd {version} has started: data plane {data_plane}";
    /// The daemon stops; its data plane goes on.
    Stopping { } = "stopping", Daemon, Notice, "lbd stops; the data plane goes on";
}
