//! A configuration as commands, and commands as a configuration.
//!
//! Both notations, the file's and this one, are of one tree: objects with the keys of the file. A command sets a key of
//! the object that its mode is about; what a tree means, and whether it may be, is said by the reader of the file.
//!
//! ```text
//!   commands ──apply──> tree ──JSON, which is YAML──> config::parse ──> Config ──to_yaml──> tree ──render──> commands
//! ```

pub mod difference;
mod table;

use std::sync::LazyLock;

use serde_json::{Map, Value};
use table::{Form, LINES, Line};

use super::grammar::argument::{self, Argument};
use super::grammar::matcher::{Args, Compiled, Grammar, Help, NoMatch, NoObjects, Objects, Typed, quoted, words};
use super::grammar::syntax::{Token, compile, tokens};
use super::redact::redact;
use crate::access::secrets;
use crate::config::Config;
use crate::config::running::{Inactive, Running, tree_of};

/// What the commands are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Global,
    Backup,
    Real,
    Pool,
    Virtual,
    Service,
}

impl Mode {
    const ALL: [Self; 6] = [Self::Global, Self::Backup, Self::Real, Self::Pool, Self::Virtual, Self::Service];

    /// Where a mode is left to, and how many steps of the path lead there.
    fn parent(self) -> Option<(Self, usize)> {
        match self {
            Self::Global => None,
            Self::Service => Some((Self::Virtual, 2)),
            _ => Some((Self::Global, 0)),
        }
    }
}

/// The commands that make this configuration of nothing, in an order in which they can be typed.
pub fn render(config: &Config) -> Vec<String> {
    render_tree(&tree_of(config), &[])
}

/// The same with what is not in force, and what that lacks.
pub fn render_running(running: &Running) -> Vec<String> {
    render_tree(&running.tree(), &running.inactive)
}

fn render_tree(tree: &Value, inactive: &[Inactive]) -> Vec<String> {
    let mut out = Vec::new();
    for one in inactive {
        out.push(format!("! Not in force: {}: {}", one.path.join(" "), one.lacks));
    }
    let empty = Map::new();
    let root = tree.as_object().unwrap_or(&empty);
    print(Mode::Global, root, 0, &mut out);
    out.push("!".into());
    if let Some(pair) = root.get("pair").and_then(Value::as_object) {
        out.push("server backup".into());
        print(Mode::Backup, pair, 1, &mut out);
        out.push("!".into());
    }
    for (key, words, mode) in SECTIONS {
        for (name, object) in root.get(key).and_then(Value::as_object).unwrap_or(&empty) {
            let object = object.as_object().unwrap_or(&empty);
            out.push(format!("{words} {name}"));
            print(mode, object, 1, &mut out);
            for (name, service) in object.get("services").and_then(Value::as_object).unwrap_or(&empty) {
                out.push(format!(" service {name}"));
                print(Mode::Service, service.as_object().unwrap_or(&empty), 2, &mut out);
            }
            out.push("!".into());
        }
    }
    out
}

/// Objects with names: the key of the file, how they are entered, and their mode.
const SECTIONS: [(&str, &str, Mode); 3] = [
    ("servers", "server real", Mode::Real),
    ("pools", "server pool", Mode::Pool),
    ("virtual-servers", "server virtual", Mode::Virtual),
];

fn at<'a>(object: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut steps = path.split('.');
    let mut value = object.get(steps.next()?)?;
    for step in steps {
        value = value.get(step)?;
    }
    Some(value)
}

fn print(mode: Mode, object: &Map<String, Value>, indent: usize, out: &mut Vec<String>) {
    for line in LINES.iter().filter(|line| line.mode == mode) {
        let Some(value) = at(object, line.key) else { continue };
        let mut put = |text: &str| {
            let blank = if text.is_empty() { "" } else { " " };
            out.push(format!("{:indent$}{}{blank}{text}", "", line.words));
        };
        match (line.form, value) {
            (Form::One, value) => put(&word(value)),
            (Form::Flag, Value::Bool(true)) => put(""),
            (Form::Flag, _) => {}
            (Form::Switch, value) => put(if *value == Value::Bool(true) { "on" } else { "off" }),
            (Form::Presence, value) => {
                put(if value.get("enabled") == Some(&Value::Bool(false)) { "off" } else { "on" });
            }
            (Form::Each, value) => elements(value).iter().for_each(|element| put(&word(element))),
            (Form::All, value) => put(&elements(value).iter().map(word).collect::<Vec<_>>().join(" ")),
            (Form::Object(parts), value) => put(&spelled(value, parts)),
            (Form::Objects(parts), value) => elements(value).iter().for_each(|element| put(&spelled(element, parts))),
            (Form::Named(parts), value) => {
                for (name, object) in value.as_object().into_iter().flatten() {
                    put(format!("{name} {}", spelled(object, parts)).trim_end());
                }
            }
            (Form::Merged(parts), value) => {
                for (name, object) in value.as_object().into_iter().flatten() {
                    put(format!("{name} {}", spelled(object, parts)).trim_end());
                }
            }
            (Form::Within(list), value) => {
                let keyword = line.value.split(' ').nth(1).unwrap_or_default();
                for (name, object) in value.as_object().into_iter().flatten() {
                    for element in object.get(list).into_iter().flat_map(elements) {
                        put(&format!("{name} {keyword} {}", element.as_str().unwrap_or_default()));
                    }
                }
            }
            (Form::Secret, value) => put(&format!("9 {}", word(value))),
            (Form::Text, value) => put(&marked(value.as_str().unwrap_or_default())),
        }
    }
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// The parts of an object that are there, each behind its keyword. One that is written short is its first part.
fn spelled(value: &Value, parts: &[(&str, &str)]) -> String {
    let Some(object) = value.as_object() else { return word(value) };
    let spell = |(keyword, key): &(&str, &str)| match object.get(*key)? {
        Value::Bool(true) => Some((*keyword).to_owned()),
        Value::Bool(false) => None,
        value if keyword.is_empty() => Some(word(value)),
        value => Some(format!("{keyword} {}", word(value))),
    };
    parts.iter().filter_map(spell).collect::<Vec<_>>().join(" ")
}

/// A text in one line: a mark that is not in it stands before and behind each of its lines. IOS writes one line so.
fn marked(text: &str) -> String {
    let mark = ('!'..='~').filter(|c| c.is_ascii_punctuation() && !"!|\"\\?".contains(*c)).find(|c| !text.contains(*c));
    // A text that has them all loses one kind of them.
    let mark = mark.unwrap_or('^');
    let lines: Vec<String> = text.split('\n').map(|line| line.replace(mark, " ")).collect();
    format!("{mark}{}{mark}", lines.join(&mark.to_string()))
}

/// The text of such a line. One that begins with no mark is a text of one line.
fn unmarked(line: &str) -> String {
    let Some(mark) = line.chars().next().filter(char::is_ascii_punctuation) else { return line.to_owned() };
    let inner = line.strip_prefix(mark).unwrap_or(line);
    // `^C` is how IOS prints the key.
    let (mark, inner) = match inner.strip_prefix('C').filter(|_| mark == '^' && line.trim_end().ends_with("^C")) {
        Some(inner) => ("^C".to_owned(), inner),
        None => (mark.to_string(), inner),
    };
    inner.strip_suffix(mark.as_str()).unwrap_or(inner).replace(mark.as_str(), "\n")
}

/// The line with hashes instead of passwords, before anything is kept of it.
fn hashed(line: &Line, mut args: Args) -> Result<Args, NoMatch> {
    let has_secret = matches!(line.form, Form::Secret | Form::Merged(_));
    let at = args.0.iter().rposition(|typed| typed.is("secret")).filter(|_| has_secret);
    // Behind a 9 it is one already.
    if let Some(password) = at.and_then(|at| args.0.get_mut(at + 1)).filter(|typed| typed.is_value()) {
        let secret = secrets::hash(&password.text).map_err(|why| NoMatch::Invalid { at: 0, why: Some(why) })?;
        secret.as_str().clone_into(&mut password.text);
    }
    Ok(args)
}

/// What a line of the configuration does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Set(&'static Line),
    Unset(&'static Line),
    /// The object at this key; the one with the name, where it has some.
    Enter(&'static str, Mode),
    Remove(&'static str),
    Exit,
    End,
    Do,
}

static GRAMMARS: LazyLock<Vec<(Mode, Compiled<Act>)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    let mut add = |mode, syntax: String, help: &str, act| {
        // Once for each command and for good.
        let syntax: &'static str = Box::leak(syntax.into_boxed_str());
        let help: &'static str = Box::leak(help.to_owned().into_boxed_str());
        if let Ok(graph) = compile(syntax, &vec![help; tokens(syntax).count()]) {
            all.push((mode, Compiled { graph, command: act }));
        }
    };
    for line in LINES {
        add(line.mode, format!("{} {}", line.words, line.value), line.help, Act::Set(line));
        // Of a list one is taken away, and never all by a line that was ended too soon.
        let value = match line.form {
            Form::Each | Form::Objects(_) | Form::Named(_) | Form::Within(_) => line.value.to_owned(),
            // The whole of it, or its password.
            Form::Merged(parts) if parts.iter().any(|(_, key)| *key == "secret") => "NAME [secret]".into(),
            Form::Merged(_) => "NAME".into(),
            Form::Secret | Form::Text => "[LINE]".into(),
            _ if line.value.is_empty() => String::new(),
            _ => format!("[{}]", line.value),
        };
        for undo in ["no", "default"] {
            add(line.mode, format!("{undo} {} {value}", line.words), line.help, Act::Unset(line));
        }
    }
    for (key, words, mode) in SECTIONS {
        // So that Tab knows those that there are.
        let name = match mode {
            Mode::Real => "REAL",
            Mode::Pool => "POOL",
            Mode::Virtual => "VIRTUAL",
            Mode::Global | Mode::Backup | Mode::Service => "NAME",
        };
        add(Mode::Global, format!("{words} {name}"), "The one with this name, or a new one", Act::Enter(key, mode));
        add(Mode::Global, format!("no {words} {name}"), "Remove it", Act::Remove(key));
    }
    add(Mode::Virtual, "service NAME".into(), "A service of the virtual server", Act::Enter("services", Mode::Service));
    add(Mode::Virtual, "no service NAME".into(), "Remove it", Act::Remove("services"));
    add(Mode::Global, "server backup".into(), "The pair", Act::Enter("pair", Mode::Backup));
    add(Mode::Global, "no server backup".into(), "This box is alone", Act::Remove("pair"));
    for mode in Mode::ALL {
        let leaves = if mode.parent().is_some() { "Leave this object" } else { "Leave the configuration" };
        add(mode, "exit".into(), leaves, Act::Exit);
        add(mode, "end".into(), "Leave the configuration", Act::End);
        add(mode, "do LINE".into(), "A command that is none of the configuration", Act::Do);
    }
    all
});

fn grammar(mode: Mode) -> Grammar<'static, Act> {
    Grammar { commands: GRAMMARS.iter().filter(|(own, _)| *own == mode).map(|(_, compiled)| compiled).collect() }
}

/// Why a line was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {text}: {why}")]
pub struct NotApplied {
    pub number: usize,
    pub text: String,
    pub why: NoMatch,
}

/// The object that what is typed is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    mode: Mode,
    /// The keys that lead to the object.
    path: Vec<String>,
}

/// What a prompt has room for between its brackets: programs look for no more.
const PLACE_MAX: usize = 32;

impl Place {
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// As it stands in a prompt.
    pub fn shown(&self) -> String {
        let of = match self.mode {
            Mode::Global => return "config".into(),
            Mode::Backup => return "config-backup".into(),
            Mode::Real => "rs",
            Mode::Pool => "pool",
            Mode::Virtual => "vs",
            Mode::Service => "service",
        };
        let name = self.path.last().map_or("", String::as_str);
        format!("config-{of}-{name}").chars().take(PLACE_MAX).collect()
    }

    /// What may come next on a line, here or further out.
    pub fn help(&self, line: &str, objects: &dyn Objects) -> Result<Help, NoMatch> {
        let own = grammar(self.mode).help(line, objects);
        match (own, self.mode.parent()) {
            // Words of the modes further out are taken too, where this one has none.
            (Err(error), Some((parent, _))) => {
                let outer = Self { mode: parent, path: Vec::new() };
                outer.help(line, objects).map_err(|_| error)
            }
            (own, _) => own,
        }
    }

    /// What Tab adds to a line.
    pub fn complete(&self, line: &str, objects: &dyn Objects) -> String {
        let own = grammar(self.mode).complete(line, objects);
        match self.mode.parent() {
            Some((parent, _)) if own.is_empty() && grammar(self.mode).help(line, objects).is_err() => {
                Self { mode: parent, path: Vec::new() }.complete(line, objects)
            }
            _ => own,
        }
    }
}

/// Where a line leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// To more lines.
    Stay,
    /// Out of the configuration.
    Leave,
    /// To a command that is none of the configuration, and back.
    Do(String),
}

/// A configuration that is being typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub tree: Value,
    pub place: Place,
}

impl Draft {
    pub fn new(tree: Value) -> Self {
        Self::at(tree, Place::default())
    }

    pub fn at(tree: Value, place: Place) -> Self {
        Self { tree: if tree.is_object() { tree } else { Value::Object(Map::new()) }, place }
    }

    /// All lines of a text; those before a line that is not understood are applied.
    pub fn apply_all<'l>(&mut self, lines: impl IntoIterator<Item = &'l str>) -> Result<(), NotApplied> {
        for (number, line) in (1..).zip(lines) {
            self.apply(line).map(drop).map_err(|why| NotApplied { number, text: redact(line), why })?;
        }
        Ok(())
    }

    /// A line, in this mode or in one further out, as IOS takes it. Comments and empty lines say nothing.
    pub fn apply(&mut self, line: &str) -> Result<Next, NoMatch> {
        if line.trim().is_empty() || line.trim_start().starts_with('!') {
            return Ok(Next::Stay);
        }
        let mut first = None;
        let mut at = self.place.clone();
        loop {
            match grammar(at.mode).find(line, &NoObjects) {
                Ok((Act::Do, args)) => return Ok(Next::Do(args.value(0).unwrap_or_default().to_owned())),
                Ok((act, args)) => {
                    let args = match act {
                        Act::Set(line) => hashed(line, args)?,
                        _ => args,
                    };
                    self.place = at;
                    return Ok(self.carry_out(*act, &args));
                }
                // A word that this mode does not have may be of one further out; a value that is wrong is not.
                Err(error) if !is_about_its_word(line, &error) => return Err(first.unwrap_or(error)),
                // The nearest mode knows best what was meant.
                Err(error) => first = first.or(Some(error)),
            }
            let Some((parent, depth)) = at.mode.parent() else { return Err(first.unwrap_or(NoMatch::Incomplete)) };
            at.path.truncate(depth);
            at.mode = parent;
        }
    }

    fn carry_out(&mut self, act: Act, args: &Args) -> Next {
        let name = args.value(0).map(str::to_owned);
        match act {
            Act::Set(line) => set(self.object(), line, args),
            Act::Unset(line) => unset(self.object(), line, args),
            Act::Enter(key, mode) => {
                self.place.path.push(key.to_owned());
                self.place.path.extend(name);
                self.place.mode = mode;
                self.object();
            }
            Act::Remove(key) => {
                let object = self.object();
                let is_gone = match (object.get_mut(key).and_then(Value::as_object_mut), name) {
                    (_, None) => true,
                    (Some(objects), Some(name)) => objects.remove(&name).is_some() && objects.is_empty(),
                    (None, Some(_)) => false,
                };
                if is_gone {
                    object.remove(key);
                }
            }
            Act::Exit => match self.place.mode.parent() {
                Some((parent, depth)) => {
                    self.place.path.truncate(depth);
                    self.place.mode = parent;
                }
                None => return Next::Leave,
            },
            // It is no line of the configuration.
            Act::Do => {}
            Act::End => {
                self.place = Place::default();
                return Next::Leave;
            }
        }
        Next::Stay
    }

    /// The object of the mode; it is there from now on.
    fn object(&mut self) -> &mut Map<String, Value> {
        self.place.path.iter().fold(as_map(&mut self.tree), |object, step| {
            as_map(object.entry(step.clone()).or_insert_with(|| Value::Object(Map::new())))
        })
    }
}

/// Whether what is wrong is the word that says what a line does.
fn is_about_its_word(line: &str, error: &NoMatch) -> bool {
    let words = words(line);
    let says = words.iter().find(|word| !["no", "default"].contains(&word.text.as_str()));
    matches!(error, NoMatch::Invalid { at, .. } if says.is_some_and(|word| word.at == *at))
}

/// What is no object becomes one: a tree has objects where this module goes.
fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        // Made one above.
        _ => unreachable!("an object was just put here"),
    }
}

/// The map and the key in it that a path leads to.
fn place<'a, 'p>(object: &'a mut Map<String, Value>, path: &'p str) -> (&'a mut Map<String, Value>, &'p str) {
    match path.split_once('.') {
        Some((step, rest)) => place(as_map(object.entry(step).or_insert_with(|| Value::Object(Map::new()))), rest),
        None => (object, path),
    }
}

fn set(object: &mut Map<String, Value>, line: &Line, args: &Args) {
    let (object, key) = place(object, line.key);
    match line.form {
        Form::One => {
            object.insert(key.into(), typed_value(args.0.last()));
        }
        Form::Flag => {
            object.insert(key.into(), Value::Bool(true));
        }
        Form::Switch => {
            object.insert(key.into(), Value::Bool(args.has("on")));
        }
        Form::Presence => {
            let entry = as_map(object.entry(key).or_insert_with(|| Value::Object(Map::new())));
            if args.has("on") {
                entry.remove("enabled");
            } else {
                *entry = Map::from_iter([("enabled".to_owned(), Value::Bool(false))]);
            }
        }
        Form::Each => {
            let value = typed_value(args.0.last());
            let list = as_list(object.entry(key).or_insert_with(|| Value::Array(Vec::new())));
            if !list.iter().any(|old| is_same(old, &value)) {
                list.push(value);
            }
        }
        Form::All => {
            let values = args.0.iter().filter(|typed| typed.is_value());
            object.insert(key.into(), Value::Array(values.map(|typed| typed_value(Some(typed))).collect()));
        }
        Form::Object(parts) => {
            object.insert(key.into(), Value::Object(parts_of(parts, args, 0)));
        }
        Form::Objects(parts) => {
            let value = parts_of(parts, args, 0);
            let first = parts.first().map_or("", |(_, key)| key);
            let list = as_list(object.entry(key).or_insert_with(|| Value::Array(Vec::new())));
            // A short one is its first part.
            let is_it = |old: &Value| value.get(first).is_some_and(|new| is_same(old.get(first).unwrap_or(old), new));
            match list.iter_mut().find(|old| is_it(old)) {
                Some(old) => *old = Value::Object(value),
                None => list.push(Value::Object(value)),
            }
        }
        Form::Secret => {
            object.insert(key.into(), typed_value(args.0.last()));
        }
        Form::Text => {
            let text = args.0.last().map_or("", |typed| typed.text.as_str());
            object.insert(key.into(), unmarked(text).into());
        }
        Form::Merged(parts) => {
            let named = as_map(object.entry(key).or_insert_with(|| Value::Object(Map::new())));
            let entry = named.entry(args.value(0).unwrap_or_default()).or_insert_with(|| Value::Object(Map::new()));
            as_map(entry).extend(parts_of(parts, args, 1));
        }
        Form::Within(list) => {
            let named = as_map(object.entry(key).or_insert_with(|| Value::Object(Map::new())));
            let entry = named.entry(args.value(0).unwrap_or_default()).or_insert_with(|| Value::Object(Map::new()));
            let list = as_list(as_map(entry).entry(list).or_insert_with(|| Value::Array(Vec::new())));
            let value = args.values().skip(1).collect::<Vec<_>>().join(" ");
            match list.iter_mut().find(|old| is_same_key(old, &value)) {
                Some(old) => *old = value.into(),
                None => list.push(value.into()),
            }
        }
        Form::Named(parts) => {
            let named = as_map(object.entry(key).or_insert_with(|| Value::Object(Map::new())));
            named.insert(args.value(0).unwrap_or_default().to_owned(), Value::Object(parts_of(parts, args, 1)));
        }
    }
}

/// Takes a key away, and what becomes empty by that: to the reader of the file an empty object may say something. One
/// that is there by being empty (`sticky on`) stays, unless it is what is taken away.
fn unset(object: &mut Map<String, Value>, line: &Line, args: &Args) {
    let (step, rest) = line.key.split_once('.').map_or((line.key, None), |(step, rest)| (step, Some(rest)));
    let Some(value) = object.get_mut(step) else { return };
    let wanted = args.0.iter().find(|typed| typed.is_value());
    match rest {
        // No key has more than two steps.
        Some(key) => {
            let Some(inner) = value.as_object_mut() else { return };
            let Some(value) = inner.get_mut(key) else { return };
            if is_gone(value, line.form, wanted, args) {
                inner.remove(key);
            }
            if inner.is_empty() && step != "persistence" {
                object.remove(step);
            }
        }
        None => {
            if is_gone(value, line.form, wanted, args) {
                object.remove(step);
            }
        }
    }
}

/// Takes what is wanted out of a value; whether nothing is left of it.
fn is_gone(value: &mut Value, form: Form, wanted: Option<&Typed>, args: &Args) -> bool {
    let wanted_value = typed_value(wanted);
    match form {
        Form::Each => {
            let list = as_list(value);
            list.retain(|old| !is_same(old, &wanted_value));
            list.is_empty()
        }
        Form::Objects(parts) => {
            let first = parts.first().map_or("", |(_, key)| key);
            let list = as_list(value);
            list.retain(|old| !is_same(old.get(first).unwrap_or(old), &wanted_value));
            list.is_empty()
        }
        Form::Named(_) => {
            let named = as_map(value);
            named.remove(wanted.map_or("", |typed| typed.text.as_str()));
            named.is_empty()
        }
        Form::Merged(_) => {
            let named = as_map(value);
            let name = wanted.map_or("", |typed| typed.text.as_str());
            if !args.has("secret") {
                named.remove(name);
            } else if let Some(entry) = named.get_mut(name) {
                as_map(entry).remove("secret");
            }
            named.is_empty()
        }
        Form::Within(list) => {
            let named = as_map(value);
            let entry = named.get_mut(wanted.map_or("", |typed| typed.text.as_str()));
            if let Some(entry) = entry.and_then(Value::as_object_mut) {
                let key = args.values().skip(1).collect::<Vec<_>>().join(" ");
                let rest = as_list(entry.entry(list).or_insert_with(|| Value::Array(Vec::new())));
                rest.retain(|old| !is_same_key(old, &key));
                if rest.is_empty() {
                    entry.remove(list);
                }
            }
            false
        }
        _ => true,
    }
}

/// To the reader of the file a number in quotes is the same.
fn is_same(one: &Value, other: &Value) -> bool {
    word(one) == word(other)
}

/// Two lines of public keys are of one key, whatever their comments say.
fn is_same_key(one: &Value, other: &str) -> bool {
    let key = |text: &str| text.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    key(one.as_str().unwrap_or_default()) == key(other)
}

fn as_list(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        // Made one above.
        _ => unreachable!("a list was just put here"),
    }
}

/// The parts of an object, from those behind their keywords; the one without is value number `first`.
fn parts_of(parts: &[(&str, &str)], args: &Args, first: usize) -> Map<String, Value> {
    let arguments: Vec<&Typed> = args.0.iter().filter(|typed| typed.is_value()).collect();
    let mut object = Map::new();
    for (keyword, key) in parts {
        let value = if keyword.is_empty() {
            arguments.get(first).map(|typed| typed_value(Some(typed)))
        } else {
            let first = keyword.split(' ').next().unwrap_or_default();
            let at = args.0.iter().rposition(|typed| typed.is(first));
            at.map(|at| match args.0.iter().skip(at + 1).find(|next| !next.is("9")) {
                Some(next) if next.is_value() => typed_value(Some(next)),
                _ => Value::Bool(true),
            })
        };
        object.extend(value.map(|value| ((*key).to_owned(), value)));
    }
    object
}

/// As the reader of the file takes it.
fn typed_value(typed: Option<&Typed>) -> Value {
    let Some(Typed { token, text }) = typed else { return Value::Null };
    let text = text.as_str();
    match token {
        Token::Argument(Argument::Number(..)) => text.parse::<u64>().map_or_else(|_| text.into(), Value::from),
        Token::Argument(Argument::Port) => argument::port(text).map_or_else(|| text.into(), Value::from),
        Token::Argument(Argument::Ports) => match argument::ports(text) {
            Some(ports) if ports.is_range() => ports.to_string().into(),
            Some(ports) => ports.first.into(),
            None => text.into(),
        },
        // One address has one spelling, or `no` would not find it.
        Token::Argument(Argument::Address | Argument::Address4 | Argument::Address6) => {
            text.parse::<std::net::IpAddr>().map_or_else(|_| text.into(), |address| address.to_string().into())
        }
        Token::Argument(Argument::Prefix) => {
            argument::prefix(text).map_or_else(|| text.into(), |prefix| prefix.to_string().into())
        }
        Token::Argument(Argument::Time) => argument::with_unit(text).into(),
        Token::Argument(Argument::Minutes) => argument::minutes(text).into(),
        Token::Argument(Argument::Share) => argument::share(text)
            .map_or_else(|| text.into(), |share| format!("{}.{:02}%", share / 100, share % 100).into()),
        Token::Argument(Argument::Mac) => argument::mac(text).map_or_else(|| text.into(), |mac| mac.to_string().into()),
        _ => text.into(),
    }
}

#[cfg(test)]
#[path = "notation_tests.rs"]
mod tests;
