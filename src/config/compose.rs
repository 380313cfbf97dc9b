//! The text of a file whose configuration has become another, with as much of its author's own text as still holds:
//! top-level sections that say the same are left as they are, comments included; the others are written anew.

use super::yaml::parse;
use super::{Config, to_yaml};

/// `text` says `before`; the result says `after`. Where sections cannot be told apart all is written anew.
pub fn compose(text: &str, before: &Config, after: &Config) -> String {
    let anew = to_yaml(after);
    let kept = |key: &str| says_the_same(key, before, after);
    let composed = replaced(text, &anew, kept);
    let holds = parse("", &composed).is_ok_and(|loaded| loaded.config == *after);
    if holds { composed } else { anew }
}

fn says_the_same(key: &str, before: &Config, after: &Config) -> bool {
    match key {
        "hostname" => before.hostname == after.hostname,
        "interfaces" => before.interfaces == after.interfaces,
        "source-nat" => before.source_nat == after.source_nat,
        "pair" => before.pair == after.pair,
        "limits" => before.limits == after.limits,
        "http" => before.http == after.http,
        "users" => before.users == after.users,
        "enable-secret" => before.enable_secret == after.enable_secret,
        "banner" => before.banner == after.banner,
        "ssh" => before.ssh == after.ssh,
        "logging" => before.logging == after.logging,
        "snmp" => before.snmp == after.snmp,
        "servers" => before.servers == after.servers,
        // What is not said of a service comes from the profile of its pool.
        "pools" => before.pools == after.pools,
        "virtual-servers" => before.virtual_servers == after.virtual_servers,
        _ => false,
    }
}

fn replaced(text: &str, anew: &str, kept: impl Fn(&str) -> bool) -> String {
    let (old, tail) = sections(text);
    let (new, _) = sections(anew);
    let mut out = String::new();
    let add = |out: &mut String, text: &str| {
        if !(out.is_empty() || out.ends_with('\n')) {
            out.push('\n');
        }
        out.push_str(text);
    };
    for section in &old {
        let instead = new.iter().find(|new| new.key == section.key);
        match instead {
            // Also where the default is spelt out, which is not written anew.
            _ if kept(section.key) => {
                add(&mut out, section.head);
                add(&mut out, section.body);
            }
            Some(instead) => {
                add(&mut out, section.head);
                add(&mut out, instead.body);
            }
            None => {}
        }
    }
    let is_new = |new: &&Section<'_>| !kept(new.key) && !old.iter().any(|old| old.key == new.key);
    for section in new.iter().filter(is_new) {
        add(&mut out, section.body);
    }
    add(&mut out, tail);
    out
}

struct Section<'a> {
    key: &'a str,
    /// Comments and empty lines above it.
    head: &'a str,
    body: &'a str,
}

/// The sections of a block mapping, and what follows the last: comments that belong to nothing. What this takes for
/// one and is none comes out as a text that says something else, which is found.
fn sections(text: &str) -> (Vec<Section<'_>>, &str) {
    // Where the comments above a section begin, where it begins itself, and its key.
    let mut starts: Vec<(usize, usize, &str)> = Vec::new();
    let mut head = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let begun = at;
        at += line.len();
        match line.bytes().next() {
            Some(b'#') => {}
            _ if line.trim().is_empty() => {}
            Some(first) if first.is_ascii_alphabetic() || first == b'"' || first == b'\'' => {
                if let Some((key, _)) = line.split_once(':') {
                    starts.push((head, begun, key.trim().trim_matches(['"', '\''])));
                }
                head = at;
            }
            _ => head = at,
        }
    }
    let end = head.max(starts.last().map_or(0, |(_, begun, _)| *begun));
    let ends = starts.iter().skip(1).map(|(head, _, _)| *head).chain([end]);
    let found = starts.iter().zip(ends).filter_map(|((head, begun, key), end)| {
        Some(Section { key, head: text.get(*head..*begun)?, body: text.get(*begun..end)? })
    });
    (found.collect(), text.get(end..).unwrap_or_default())
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
