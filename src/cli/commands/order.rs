//! Orders: drain, enable and disable servers; who of the pair owns.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{ADMIN, Call, Entry, Refusal, Run, noted};
use crate::cli::grammar::argument;
use crate::config::limits::DRAIN_DEADLINE;
use crate::config::yaml;
use crate::core::admin::Then;
use crate::core::control::pair::Side;
use crate::core::control::{Action, Order, OrderReport, PairOrder};

type Done = BoxFuture<'static, Result<Vec<String>, Refusal>>;

pub const ENTRIES: &[Entry] = &[
    Entry {
        level: ADMIN,
        syntax: "server drain REAL [pool POOL] [deadline TIME] [remove] [force]",
        help: &[
            "Orders about servers",
            "No new connections; those that are there live on",
            "A real server",
            "In one pool alone",
            "A pool",
            "Reset what is left after a time",
            "Such as 30m",
            "Then take it out of the configuration",
            "Also where nobody else is left",
        ],
        run: Run::Do(drain),
    },
    Entry {
        level: ADMIN,
        syntax: "server enable REAL [pool POOL]",
        help: &[
            "Orders about servers",
            "New connections again; ends a drain",
            "A real server",
            "In one pool alone",
            "A pool",
        ],
        run: Run::Do(enable),
    },
    Entry {
        level: ADMIN,
        syntax: "server disable REAL [pool POOL] [force]",
        help: &[
            "Orders about servers",
            "Treat it as failed",
            "A real server",
            "In one pool alone",
            "A pool",
            "Also where nobody else is left",
        ],
        run: Run::Do(disable),
    },
    Entry {
        level: ADMIN,
        syntax: "server remove REAL [pool POOL] [force]",
        help: &[
            "Orders about servers",
            "Take what is drained out of the configuration",
            "A real server",
            "Out of one pool alone",
            "A pool",
            "Also what is not drained: its connections are ended",
        ],
        run: Run::Do(remove),
    },
    Entry {
        level: ADMIN,
        syntax: "server switchover",
        help: &["Orders about servers", "Hand over to the other box of the pair"],
        run: Run::Do(|call| pair(call, PairOrder::HandOver)),
    },
    Entry {
        level: ADMIN,
        syntax: "[no] server backup maintenance",
        help: &["Undo", "Orders about servers", "The pair", "This box shall own nothing"],
        run: Run::Do(|call| {
            let on = !call.args.has("no");
            pair(call, PairOrder::Maintenance(on))
        }),
    },
    Entry {
        level: ADMIN,
        syntax: "server backup take-config <own|peer>",
        help: &[
            "Orders about servers",
            "The pair",
            "Of two configurations that were changed apart one counts",
            "That of this box",
            "That of the other box",
        ],
        run: Run::Do(|call| {
            let side = if call.args.has("own") { Side::Own } else { Side::Peer };
            pair(call, PairOrder::TakeConfig(side))
        }),
    },
];

fn drain(call: Call) -> Done {
    let deadline = call.args.after("deadline").map(read_deadline).transpose();
    let then = if call.args.has("remove") { Then::Remove } else { Then::Nothing };
    async move { order(call, Action::Drain { deadline: deadline?, then }).await }.boxed()
}

fn read_deadline(text: &str) -> Result<std::time::Duration, Refusal> {
    yaml::time(&argument::with_unit(text), DRAIN_DEADLINE).map_err(|why| Refusal(format!("the deadline: {why}")))
}

fn enable(call: Call) -> Done {
    order(call, Action::Enable).boxed()
}

fn disable(call: Call) -> Done {
    order(call, Action::Disable).boxed()
}

fn remove(call: Call) -> Done {
    order(call, Action::Remove).boxed()
}

async fn order(call: Call, action: Action) -> Result<Vec<String>, Refusal> {
    // The server is the first value of each of these commands.
    let server = call.args.value(0).unwrap_or_default().to_owned();
    let pool = call.args.after("pool").map(str::to_owned);
    let order = Order { server, pool, action, force: call.args.has("force") };
    Ok(told(&call.control.order(order).await?))
}

/// What became of an order.
fn told(report: &OrderReport) -> Vec<String> {
    let what = match &report.pool {
        Some(pool) => format!("{} in pool {pool}", report.server),
        None => report.server.clone(),
    };
    let mut lines = vec![match (report.removed, report.cut) {
        (true, 0) => format!("{what} is out of the configuration"),
        (true, cut) => format!("{what} is out of the configuration, {cut} connections were ended"),
        (false, _) => format!("{what}: {} -> {}, {} connections", report.before, report.state, report.connections),
    }];
    if report.deadline_at.is_some() {
        lines.push("What is left at the deadline is reset; `show server drain` says when".into());
    }
    lines.extend(noted(&report.notes));
    lines
}

fn pair(call: Call, order: PairOrder) -> Done {
    async move {
        call.control.pair_order(order).await?;
        Ok(vec!["Ordered; `show server backup` says what came of it".to_owned()])
    }
    .boxed()
}
