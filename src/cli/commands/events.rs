//! What has happened: the event log, and the last lines of the log.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use time::macros::format_description;
use time::{OffsetDateTime, UtcDateTime};

use super::{ADMIN, Call, Entry, Lines, Refusal, Run, USER};
use crate::cli::grammar::argument;
use crate::cli::monitor;
use crate::cli::table::count;
use crate::config::limits::Range;
use crate::config::yaml;
use crate::core::control::LoggingState;
use crate::core::events::{Class, Event, EventFilter};

/// How far back one may ask: 30 days.
const SINCE: Range = Range { min: 0, max: 30 * 86_400_000 };

pub const ENTRIES: &[Entry] = &[
    Entry {
        level: USER,
        syntax: "show events [class <health|pair|link|order|config|login|denied|alarm|daemon>] \
                 [severity <error|warning|notice|info>] [since TIME] [last 1-10000]",
        help: &[
            "Show what there is",
            "What has happened: the last 100, or as many as is said",
            "Of one class",
            "Servers and services",
            "Who of the pair owns, paths of heartbeats",
            "Ports of the data plane",
            "Orders about servers, and drains",
            "The configuration",
            "Who was let in",
            "Who was not let in",
            "What an operator should look at",
            "Starts and stops",
            "As bad as this, or worse",
            "Something does not work",
            "Something is about not to work",
            "What an operator wants to know",
            "All",
            "Of the last so long",
            "Such as 2h",
            "At most so many; 100 by default",
            "How many",
        ],
        run: Run::Stream(show),
    },
    Entry {
        level: ADMIN,
        syntax: "show logging",
        help: &["Show what there is", "Where the log goes, and the last that the daemon has written down"],
        run: Run::Do(|call| logging(call).boxed()),
    },
];

fn show(call: Call, lines: Lines) -> BoxFuture<'static, Result<(), Refusal>> {
    async move {
        let page = call.control.events(filter(&call)?).await?;
        let line = if call.json { Event::to_line } else { line };
        if page.events.is_empty() && !call.json {
            lines.send(vec!["There is no such event".to_owned()]).await?;
        }
        for events in page.events.chunks(100) {
            lines.send(events.iter().map(|event| line(event)).collect()).await?;
        }
        Ok(())
    }
    .boxed()
}

fn filter(call: &Call) -> Result<EventFilter, Refusal> {
    let args = &call.args;
    let mut filter = EventFilter::default();
    // The words that may follow are those of the classes and severities.
    filter.classes.extend(Class::ALL.into_iter().filter(|class| args.has(class.word())));
    filter.severity = crate::core::events::Severity::ALL.into_iter().find(|severity| args.has(severity.word()));
    if let Some(text) = args.after("since") {
        let since: Duration =
            yaml::time(&argument::with_unit(text), SINCE).map_err(|why| Refusal(format!("the time: {why}")))?;
        let now = u64::try_from(UtcDateTime::now().unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        filter.since_ms = Some(now.saturating_sub(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
    }
    if let Some(last) = args.after("last") {
        filter.limit = last.parse()?;
    }
    Ok(filter)
}

/// `Nov 28 14:03:07.123 warning health: smtp 10.1.0.2:25: up -> down: ...`, in the manner of IOS; times are UTC.
fn line(event: &Event) -> String {
    let form =
        format_description!("[month repr:short] [day padding:space] [hour]:[minute]:[second].[subsecond digits:3]");
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(event.at_ms) * 1_000_000).ok();
    let at = at.and_then(|at| at.format(form).ok()).unwrap_or_else(|| event.at_ms.to_string());
    format!("{at} {:7} {}: {}", event.severity, event.class, event.text)
}

async fn logging(call: Call) -> Result<Vec<String>, Refusal> {
    let state = call.control.state().await?;
    let mut lines = head(&state.logging);
    lines.extend(monitor::last().iter().map(|line| line.to_string()));
    Ok(lines)
}

/// Where the log goes, and what was lost on the way.
fn head(logging: &LoggingState) -> Vec<String> {
    let server = |server: &crate::core::control::LogServerState| {
        let way = match (&server.trouble, server.connected) {
            (Some(trouble), _) => trouble.clone(),
            (None, true) => "connected".to_owned(),
            (None, false) => "not connected yet".to_owned(),
        };
        format!(
            "Logging to {} ({}, {} and worse): {} sent, {} lost, {} waiting; {way}",
            server.address,
            server.transport,
            server.severity,
            count(server.sent),
            count(server.lost),
            count(server.queued),
        )
    };
    let mut lines: Vec<String> = logging.servers.iter().map(server).collect();
    if logging.events_unwritten > 0 {
        lines.push(format!("{} events are not in the file of events", count(logging.events_unwritten)));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines
}
