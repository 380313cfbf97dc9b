//! The configuration in force, as commands.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{ADMIN, Call, Entry, Lines, Refusal, Run};
use crate::cli::notation;

pub const ENTRIES: &[Entry] = &[
    Entry {
        level: ADMIN,
        syntax: "show running-config",
        help: &["Show what there is", "The configuration in force, as commands that make it"],
        run: Run::Stream(running),
    },
    Entry {
        level: ADMIN,
        syntax: "write terminal",
        help: &["The configuration", "Show it, as `show running-config` does"],
        run: Run::Stream(running),
    },
];

fn running(call: Call, lines: Lines) -> BoxFuture<'static, Result<(), Refusal>> {
    async move {
        let running = call.control.running().await?.running;
        if call.json {
            let tree = serde_json::to_string_pretty(&running.tree())?;
            return Ok(lines.send(tree.lines().map(str::to_owned).collect()).await?);
        }
        let (text, bytes) = ended(notation::render_running(&running));
        // Three lines above it: tools cut off as many.
        let head =
            ["Building configuration...".to_owned(), String::new(), format!("Current configuration : {bytes} bytes")];
        Ok(lines.send(head.into_iter().chain(text).collect()).await?)
    }
    .boxed()
}

/// A configuration with the line that ends it, and its size in bytes.
pub fn ended(mut lines: Vec<String>) -> (Vec<String>, usize) {
    lines.push("end".into());
    let bytes = lines.iter().map(|line| line.len() + 1).sum();
    (lines, bytes)
}
