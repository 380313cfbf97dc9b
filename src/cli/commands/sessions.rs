//! The table of connections, which may have millions of entries: it is never in memory as a whole.

use std::net::IpAddr;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Call, Entry, Lines, Refusal, Run, USER};
use crate::cli::table::age;
use crate::config::Name;
use crate::core::control::word::Word;
use crate::core::control::{Chunk, ConnectionRow, Filter, LIMIT_DEFAULT};

pub const ENTRIES: &[Entry] = &[Entry {
    level: USER,
    syntax: "show server session [client IP] [real REAL] [virtual VIRTUAL] [limit 1-10000000]",
    help: &[
        "Show what there is",
        "Load balancing",
        "Established connections",
        "Of one client",
        "Its address",
        "To one real server",
        "A real server",
        "To one virtual server",
        "A virtual server",
        "At most so many; 1000 by default",
        "How many",
    ],
    run: Run::Stream(show),
}];

fn show(call: Call, lines: Lines) -> BoxFuture<'static, Result<(), Refusal>> {
    walk(call, lines).boxed()
}

async fn walk(call: Call, lines: Lines) -> Result<(), Refusal> {
    let filter = filter(&call)?;
    let limit = filter.limit;
    let mut chunks = call.control.connections(filter).await?;
    if !call.json {
        lines.send(vec![head()]).await?;
    }
    let mut shown: u32 = 0;
    while let Some(chunk) = chunks.recv().await {
        match chunk {
            Chunk::Rows(rows) => {
                shown = shown.saturating_add(u32::try_from(rows.len()).unwrap_or(u32::MAX));
                let text = if call.json { json } else { row };
                lines.send(rows.iter().map(text).collect()).await?;
            }
            Chunk::End => {
                if !call.json {
                    let more = if shown == limit { "; perhaps there are more: say a `limit`" } else { "" };
                    lines.send(vec![format!("{shown} connections{more}")]).await?;
                }
                return Ok(());
            }
            Chunk::Failed(error) => return Err(error.into()),
        }
    }
    Err(Refusal("the walk over the table has broken off".into()))
}

fn filter(call: &Call) -> Result<Filter, Refusal> {
    let name = |keyword| call.args.after(keyword).map(Name::new).transpose().map_err(Refusal);
    let client = call.args.after("client").map(str::parse::<IpAddr>).transpose()?;
    let limit = call.args.after("limit").map(str::parse::<u32>).transpose()?;
    Ok(Filter {
        client: client.map(|client| client.to_canonical()),
        server: name("real")?,
        virtual_server: name("virtual")?,
        limit: limit.unwrap_or(LIMIT_DEFAULT),
        ..Filter::default()
    })
}

fn head() -> String {
    line("Prot", "Client", "Virtual", "Real", "State", "Idle", "Age")
}

fn row(row: &ConnectionRow) -> String {
    line(
        row.protocol.word(),
        &row.client.to_string(),
        &row.virtual_address.to_string(),
        row.dest.server.as_str(),
        row.state.word(),
        &age(row.idle),
        &age(row.age),
    )
}

fn line(protocol: &str, client: &str, to: &str, server: &str, state: &str, idle: &str, old: &str) -> String {
    format!("{protocol:4} {client:21} {to:21} {server:12} {state:11} {idle:>7} {old:>7}")
}

/// One object on each line, with the names of the API.
fn json(row: &ConnectionRow) -> String {
    serde_json::to_string(row).unwrap_or_default()
}
