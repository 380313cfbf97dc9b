//! A change of the configuration's text that leaves everything else as its author wrote it: comments,
//! order, layout.
//!
//! The result is read back and must be the configuration before without what was to go, and nothing
//! else; a text that cannot be edited so is left to its author.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use yaml_edit::{Mapping, Sequence, YamlFile, YamlNode};

use super::diagnostic::Refused;
use super::yaml::{Loaded, parse};
use super::{Config, Name};

/// Why a text was not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("it cannot be read: {0}")]
    Unreadable(Refused),
    #[error("without it the file would be refused: {0}")]
    Invalid(Refused),
    #[error("the file is written in a way that only its author can edit; take it out by hand, and reload")]
    TooClever,
}

/// The text without a server: out of one pool, or else out of all pools and the list of servers. With it
/// what the reader has to say of the new one.
pub fn without(file: &str, text: &str, pool: Option<&Name>, server: &Name) -> Result<(String, Loaded), EditError> {
    let before = parse(file, text).map_err(EditError::Unreadable)?;
    let meant = meant(&before.config, pool, server);
    // The editor keeps invariants by panicking; nothing of its work outlives that.
    let edited = catch_unwind(AssertUnwindSafe(|| edit(text, pool, server)));
    let edited = edited.ok().flatten().ok_or(EditError::TooClever)?;
    let after = parse(file, &edited).map_err(EditError::Invalid)?;
    if after.config != meant {
        return Err(EditError::TooClever);
    }
    Ok((edited, after))
}

/// A configuration without a server: in one pool, or at all.
pub fn meant(before: &Config, pool: Option<&Name>, server: &Name) -> Config {
    let mut meant = before.clone();
    for (_, entry) in meant.pools.iter_mut().filter(|(name, _)| pool.is_none_or(|pool| pool == *name)) {
        entry.members.retain(|member| member.server != *server);
    }
    if pool.is_none() {
        meant.servers.remove(server);
    }
    meant
}

/// `None`: the text is not of the shape that is looked for.
fn edit(text: &str, pool: Option<&Name>, server: &Name) -> Option<String> {
    let file = YamlFile::from_str(text).ok()?;
    let document = file.document()?;
    let root = document.as_mapping()?;
    if let Some(pools) = root.get_mapping("pools") {
        for entry in pools.entries() {
            let name = entry.key_node().and_then(|key| scalar(&key));
            let Some(YamlNode::Mapping(body)) = entry.value_node() else { continue };
            if pool.is_none_or(|pool| name.as_deref() == Some(pool.as_str())) {
                remove_member(&body, server);
            }
        }
    }
    if pool.is_none() {
        let servers = root.get_mapping("servers")?;
        let key = servers.entries().filter_map(|entry| entry.key_node());
        let key = key.into_iter().find(|key| scalar(key).as_deref() == Some(server.as_str()))?;
        servers.remove(key);
        if servers.is_empty() {
            root.set("servers", Mapping::new_flow());
        }
    }
    Some(file.to_string())
}

fn remove_member(pool: &Mapping, server: &Name) {
    let Some(members) = pool.get_sequence("members") else { return };
    let is_it = |member: &YamlNode| {
        let name = match member {
            YamlNode::Mapping(member) => member.get("server").and_then(|name| scalar(&name)),
            other => scalar(other),
        };
        name.as_deref() == Some(server.as_str())
    };
    // A pool names a server once.
    if let Some(at) = members.values().position(|member| is_it(&member)) {
        members.remove(at);
    }
    if members.is_empty() {
        pool.set("members", Sequence::new_flow());
    }
}

fn scalar(node: &YamlNode) -> Option<String> {
    node.as_scalar().map(|scalar| scalar.as_string())
}

#[cfg(test)]
mod tests;
