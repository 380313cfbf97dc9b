//! The configuration as a whole: entered, saved, compared, replaced, taken back.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::running::ended;
use super::{ADMIN, Call, Change, Entry, Refusal, Run, USER, noted};
use crate::cli::grammar::matcher::Args;
use crate::cli::notation::{self, difference};
use crate::cli::table::age;
use crate::config::Running;
use crate::core::control::{self, ConfigOrder, Which};

type Done = BoxFuture<'static, Result<Vec<String>, Refusal>>;

const CONFIGURATION: &str = "Configuration";
const SHOW: &str = "Show what there is";
const ARCHIVE: &str = "Configurations that were saved over";

pub const ENTRIES: &[Entry] = &[
    Entry {
        level: ADMIN,
        syntax: "configure terminal [local] [revert timer 1-120]",
        help: &[
            CONFIGURATION,
            "Type it, line by line; each acts at once",
            "On a standby: what is of this box alone",
            "Take it back unless it is confirmed",
            "After a time",
            "Minutes",
        ],
        run: Run::Session(terminal),
    },
    Entry {
        level: ADMIN,
        syntax: "configure confirm",
        help: &[CONFIGURATION, "What was changed under a revert timer stays"],
        run: Run::Do(|call| order(call, ConfigOrder::Confirm)),
    },
    Entry {
        level: ADMIN,
        syntax: "configure revert <now|timer 1-120>",
        help: &[
            CONFIGURATION,
            "What was changed under a revert timer",
            "Take it back now",
            "Take it back unless it is confirmed",
            "Minutes from now",
        ],
        run: Run::Do(|call| {
            let what = minutes(&call.args).map_or(ConfigOrder::Revert, ConfigOrder::Hold);
            order(call, what)
        }),
    },
    Entry {
        level: ADMIN,
        syntax: "configure replace <startup-config|archive 1-99999999> [force]",
        help: &[
            CONFIGURATION,
            "Another one comes into force, all of it or nothing",
            "What was saved last",
            "What was saved before",
            "Its number; `show archive` has them",
            "Without a question, which there is none of",
        ],
        run: Run::Do(|call| replace(call).boxed()),
    },
    Entry {
        level: ADMIN,
        syntax: "configure reload",
        help: &[CONFIGURATION, "Read the file anew"],
        run: Run::Do(|call| reload(call).boxed()),
    },
    Entry {
        level: ADMIN,
        syntax: "write memory",
        help: &[CONFIGURATION, "Save it: what is in force comes back after a restart"],
        run: Run::Do(|call| save(call).boxed()),
    },
    Entry {
        level: ADMIN,
        syntax: "copy running-config startup-config",
        help: &["Copy", "What is in force", "What comes back after a restart"],
        run: Run::Do(|call| save(call).boxed()),
    },
    Entry {
        level: ADMIN,
        syntax: "show startup-config",
        help: &[SHOW, "The configuration that was saved, as commands that make it"],
        run: Run::Do(|call| startup(call).boxed()),
    },
    Entry { level: ADMIN, syntax: "show archive", help: &[SHOW, ARCHIVE], run: Run::Do(|call| archive(call).boxed()) },
    Entry {
        level: ADMIN,
        syntax: "show archive config differences [WORD [WORD]]",
        help: &[
            SHOW,
            ARCHIVE,
            "What they say",
            "What one says and the other does not",
            "running-config, startup-config, or a number; startup-config by default",
            "The same; running-config by default",
        ],
        run: Run::Do(|call| differences(call).boxed()),
    },
    Entry {
        level: USER,
        syntax: "show archive config rollback timer",
        help: &[SHOW, ARCHIVE, "What they say", "What is taken back", "Unless it is confirmed in time"],
        run: Run::Do(|call| rollback_timer(call).boxed()),
    },
];

fn terminal(args: &Args) -> Change {
    Change::Configure { local: args.has("local"), revert: minutes(args) }
}

fn minutes(args: &Args) -> Option<Duration> {
    let minutes: u64 = args.after("timer")?.parse().ok()?;
    Some(Duration::from_secs(60 * minutes))
}

fn order(call: Call, order: ConfigOrder) -> Done {
    async move { Ok(noted(&call.control.config_order(call.by, order).await?).collect()) }.boxed()
}

/// In the words that programs wait for.
async fn save(call: Call) -> Result<Vec<String>, Refusal> {
    let notes = call.control.config_order(call.by, ConfigOrder::Save).await?;
    Ok(["Building configuration...".to_owned()].into_iter().chain(noted(&notes)).chain(["[OK]".to_owned()]).collect())
}

async fn reload(call: Call) -> Result<Vec<String>, Refusal> {
    let before = call.control.running().await?.revision;
    let notes = call.control.config_order(call.by, ConfigOrder::Load).await?;
    let after = call.control.running().await?.revision;
    let first = if before == after {
        "The file says what is in force already".to_owned()
    } else {
        format!("Revision {after} is in force")
    };
    Ok([first].into_iter().chain(noted(&notes)).collect())
}

async fn replace(call: Call) -> Result<Vec<String>, Refusal> {
    let Some(number) = call.args.after("archive") else {
        return order(call, ConfigOrder::Load).await;
    };
    let config = call.control.on_disk(Which::Archived(number.parse()?)).await?;
    let revision = call.control.running().await?.revision;
    let running = Running::of((*config).clone());
    let report = call.control.configure(control::Change { running, revision, by: call.by }).await?;
    Ok(noted(&report.notes).collect())
}

async fn startup(call: Call) -> Result<Vec<String>, Refusal> {
    let (lines, bytes) = ended(notation::render(&*call.control.on_disk(Which::Startup).await?));
    Ok([format!("Using {bytes} bytes")].into_iter().chain(lines).collect())
}

async fn archive(call: Call) -> Result<Vec<String>, Refusal> {
    let saved = call.control.archive().await?;
    if saved.is_empty() {
        return Ok(vec!["Nothing was saved over yet".to_owned()]);
    }
    let mut lines = vec!["Number    Saved over".to_owned()];
    lines.extend(saved.iter().map(|one| format!("{:>6}    {} ago", one.number, age(since(one.until)))));
    Ok(lines)
}

async fn differences(call: Call) -> Result<Vec<String>, Refusal> {
    let from = lines_of(&call, call.args.value(0).unwrap_or("startup-config")).await?;
    let to = lines_of(&call, call.args.value(1).unwrap_or("running-config")).await?;
    let found = difference::between(&from, &to);
    let none = found.is_empty().then(|| "!No changes were found".to_owned());
    Ok(["!Contextual Config Diffs:".to_owned()].into_iter().chain(found).chain(none).collect())
}

/// Names as IOS has them, with or without where they are kept.
async fn lines_of(call: &Call, name: &str) -> Result<Vec<String>, Refusal> {
    let name = name.rsplit_once(':').map_or(name, |(_, name)| name);
    let which = match name {
        "running-config" => return Ok(notation::render_running(&call.control.running().await?.running)),
        "startup-config" => Which::Startup,
        number => Which::Archived(number.parse().map_err(|_| {
            Refusal(format!("{number} is neither running-config nor startup-config nor a number of the archive"))
        })?),
    };
    Ok(notation::render(&*call.control.on_disk(which).await?))
}

async fn rollback_timer(call: Call) -> Result<Vec<String>, Refusal> {
    Ok(vec![match call.control.running().await?.hold {
        None => "%No Rollback Confirmed Change pending".to_owned(),
        Some(hold) => {
            let (minutes, seconds) = (hold.left.as_secs() / 60, hold.left.as_secs() % 60);
            format!(
                "The changes of {} are taken back in {minutes} min {seconds} s unless `configure confirm` is typed",
                hold.by.name
            )
        }
    }])
}

fn since(unix: u64) -> Duration {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(unix);
    // A clock that was set back in between has no answer.
    SystemTime::now().duration_since(at).unwrap_or_default()
}
