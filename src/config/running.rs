//! The configuration in force, as it is typed: with objects to which something is still to be said.
//!
//! Whoever types makes an object first and says then what it is. Until enough is said it is *inactive*: kept as it was
//! typed, and not in force. A part of an object that is in force (its `check`, say) stays as it was before, until what
//! is typed for it can stand.
//!
//! ```text
//!   tree ──read──> Config, in force                  Config ──┐
//!          └─────> objects that lack something  ──────────────┴──tree──> what is shown, and typed on
//! ```

use std::cell::LazyCell;

use serde_json::{Map, Value};

use super::diagnostic::Diagnostic;
use super::{Config, Refused, parse, to_yaml};

/// What a text that was typed is called in errors.
const NAME: &str = "running-config";

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// What is in force.
    pub config: Config,
    /// What is not.
    pub inactive: Vec<Inactive>,
}

/// An object, or a part of one, that lacks something.
#[derive(Clone, Debug, PartialEq)]
pub struct Inactive {
    /// The keys of the file that lead to it.
    pub path: Vec<String>,
    /// As it was typed.
    pub value: Value,
    /// What it lacks, in words.
    pub lacks: String,
}

/// The tree of a configuration, without what is left at its default.
pub fn tree_of(config: &Config) -> Value {
    // What `to_yaml` writes can be read; an empty tree would show that it could not.
    serde_yaml::from_str(&to_yaml(config)).unwrap_or_default()
}

impl Running {
    /// Nothing is typed.
    pub fn of(config: Config) -> Self {
        Self { config, inactive: Vec::new() }
    }

    /// What a tree says, after `before`. Refused, if something in it is wrong, or if what is in force would come to
    /// lack something.
    pub fn read(tree: &Value, before: &Self) -> Result<Self, Refused> {
        // Only for what lacks something: a line that is right needs none of it.
        let in_force = LazyCell::new(|| tree_of(&before.config));
        let mut effective = tree.clone();
        let mut inactive: Vec<Inactive> = Vec::new();
        loop {
            let mut refused = match parse(NAME, &effective.to_string()) {
                Ok(loaded) => {
                    // What contains others before them.
                    inactive.sort_by(|one, other| one.path.cmp(&other.path));
                    return Ok(Self { config: loaded.config, inactive });
                }
                Err(refused) => refused,
            };
            let mut is_lack = true;
            for diagnostic in &refused.diagnostics {
                let found = diagnostic.is_lack.then(|| aside(diagnostic, &mut effective, &in_force)).flatten();
                match found {
                    Some(lacking) => inactive.push(lacking),
                    // A consequence of what was set aside just now, or something that is wrong.
                    None if is_within_one(&diagnostic.path, &inactive) => {}
                    None => is_lack = false,
                }
            }
            if !is_lack {
                refused.diagnostics.retain(|diagnostic| !is_within_one(&diagnostic.path, &inactive));
                explain(&mut refused, &inactive);
                return Err(refused);
            }
        }
    }

    /// What was typed, whether it is in force or not.
    pub fn tree(&self) -> Value {
        let mut tree = tree_of(&self.config);
        for Inactive { path, value, .. } in &self.inactive {
            put(&mut tree, path, value.clone());
        }
        tree
    }
}

/// Sets an object aside that lacks something: its new part, or the whole of it if it is new. `None`: it is in force.
fn aside(diagnostic: &Diagnostic, effective: &mut Value, in_force: &Value) -> Option<Inactive> {
    let steps: Vec<&str> = diagnostic.path.split('/').collect();
    let object = match steps.as_slice() {
        ["virtual-servers", _, "services", _, ..] => 4,
        ["servers" | "pools" | "virtual-servers", _, ..] => 2,
        ["pair", ..] => 1,
        // Sections that are always there: only parts of them are new.
        [section, _, ..] if *section != "source-nat" => 1,
        _ => return None,
    };
    let object = steps.get(..object)?;
    let is_section = matches!(object, [section] if *section != "pair");
    let part = steps.get(..object.len() + 1);
    let lacks = diagnostic.message.clone();
    let set_aside = |effective: &mut Value, path: &[&str], instead: Option<Value>| {
        let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
        let value = find(effective, &path)?.clone();
        match instead {
            Some(instead) => put(effective, &path, instead),
            None => take(effective, &path),
        }
        Some(Inactive { path, value, lacks })
    };
    if is_section || find(in_force, object).is_some() {
        let part = part?;
        let instead = find(in_force, part).cloned();
        // As it was before it lacked nothing.
        if find(effective, part) == instead.as_ref() {
            return None;
        }
        return set_aside(effective, part, instead);
    }
    set_aside(effective, object, None)
}

fn is_within_one(path: &str, inactive: &[Inactive]) -> bool {
    let steps: Vec<&str> = path.split('/').collect();
    inactive
        .iter()
        .any(|one| steps.len() >= one.path.len() && one.path.iter().zip(&steps).all(|(own, step)| own == step))
}

/// Who misses an object that was set aside is told why it is not there.
fn explain(refused: &mut Refused, inactive: &[Inactive]) {
    for diagnostic in &mut refused.diagnostics {
        let missing = inactive.iter().find(|one| {
            one.path.last().is_some_and(|name| one.path.len() == 2 && diagnostic.message.contains(&format!("`{name}`")))
        });
        if let Some(missing) = missing {
            diagnostic.help = Some(format!("it is not complete yet: {}", missing.lacks));
        }
    }
}

fn find<'a>(tree: &'a Value, path: &[impl AsRef<str>]) -> Option<&'a Value> {
    path.iter().try_fold(tree, |value, step| value.get(step.as_ref()))
}

fn put(tree: &mut Value, path: &[String], value: Value) {
    let place = path.iter().fold(tree, |tree, step| {
        if !tree.is_object() {
            *tree = Value::Object(Map::new());
        }
        &mut tree[step.as_str()]
    });
    *place = value;
}

fn take(tree: &mut Value, path: &[String]) {
    let Some((last, way)) = path.split_last() else { return };
    let place = way.iter().try_fold(tree, |value, step| value.get_mut(step.as_str()));
    if let Some(object) = place.and_then(Value::as_object_mut) {
        object.remove(last);
    }
}

#[cfg(test)]
#[path = "running_tests.rs"]
mod tests;
