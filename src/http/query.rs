//! `?client=192.0.2.7&limit=10`: what connections are asked for, in which format.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;

use super::problem::{Problem, quoted};
use super::stream::Format;
use crate::config::suggest::did_you_mean;
use crate::config::{LogSeverity, Name, Protocol};
use crate::core::control::word::Word;
use crate::core::control::{Filter, FlowState, LIMIT_MAX};
use crate::core::events::{Class, EventFilter, LIMIT_MAX as EVENTS_MAX};

const KEYS: [&str; 8] = ["client", "virtual_server", "service", "server", "protocol", "state", "limit", "format"];

/// A query in which each key stands once, and is one of those that there are.
pub struct Keys;

impl Keys {
    /// The keys with their values. What is not understood is refused, because a wish that is overlooked is answered by
    /// something else than what was wished.
    pub fn read(uri: &Uri, keys: &[&'static str]) -> Result<Vec<(&'static str, String)>, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::bad_request("the query is not of the form key=value&key=value"))?;
        let mut read: Vec<(&'static str, String)> = Vec::new();
        for (key, value) in pairs {
            let Some(known) = keys.iter().find(|known| **known == key) else {
                let guess = match keys {
                    [only] => format!("; there is `{only}`"),
                    _ => did_you_mean(&key, keys.iter().copied()).map_or(String::new(), |guess| format!("; {guess}")),
                };
                let detail = format!("there is no query key {}{guess}", quoted(&key));
                return Err(Problem::bad_request(detail).with("key", key).with("expected", keys.to_vec()));
            };
            if read.iter().any(|(seen, _)| seen == known) {
                return Err(Problem::bad_request(format!("{} is given twice", quoted(&key))).with("key", key));
            }
            read.push((known, value));
        }
        Ok(read)
    }

    pub fn bad_value(key: &str, value: &str, expected: &str) -> Problem {
        bad_value(key, value, expected, None)
    }
}

/// Reads the query of a request for connections.
pub fn connections(uri: &Uri) -> Result<(Filter, Format), Problem> {
    let mut filter = Filter::default();
    let mut format = Format::Json;
    for (key, value) in Keys::read(uri, &KEYS)? {
        set(&mut filter, &mut format, key, &value)?;
    }
    Ok((filter, format))
}

/// Reads the query of a request for events.
pub fn events(uri: &Uri) -> Result<EventFilter, Problem> {
    let mut filter = EventFilter::default();
    for (key, value) in Keys::read(uri, &["class", "severity", "since", "before", "after", "limit"])? {
        let number = |expected: &str| read::<u64>(key, &value, expected);
        match key {
            "class" => filter.classes = [choice(key, &value, &Class::ALL)?].into(),
            "severity" => filter.severity = Some(choice(key, &value, &LogSeverity::ALL)?),
            "since" => filter.since_ms = Some(number("Unix time in seconds")?.saturating_mul(1000)),
            "before" => filter.before = Some(number("the number of an event")?),
            "after" => filter.after = Some(number("the number of an event")?),
            _ => {
                filter.limit = within(key, &value, 1..=EVENTS_MAX)?;
            }
        }
    }
    Ok(filter)
}

/// Whether the query says `force=true`; it has no other key.
pub fn force(uri: &Uri) -> Result<bool, Problem> {
    match Keys::read(uri, &["force"])?.first() {
        None => Ok(false),
        Some((key, value)) => flag(key, value),
    }
}

fn set(filter: &mut Filter, format: &mut Format, key: &str, value: &str) -> Result<(), Problem> {
    match key {
        "client" => filter.client = Some(address(key, value)?),
        "virtual_server" => filter.virtual_server = Some(name(key, value)?),
        "service" => filter.service = Some(name(key, value)?),
        "server" => filter.server = Some(name(key, value)?),
        "protocol" => filter.protocol = Some(protocol(key, value)?),
        "state" => filter.state = Some(choice(key, value, &FlowState::ALL)?),
        "format" => *format = choice(key, value, &Format::ALL)?,
        "limit" => {
            filter.limit = within(key, value, 1..=LIMIT_MAX)?;
        }
        // Those that there are stand above.
        _ => {}
    }
    Ok(())
}

pub fn flag(key: &str, value: &str) -> Result<bool, Problem> {
    read(key, value, "true or false")
}

pub fn address(key: &str, value: &str) -> Result<IpAddr, Problem> {
    Ok(read::<IpAddr>(key, value, "an IPv4 or IPv6 address")?.to_canonical())
}

pub fn protocol(key: &str, value: &str) -> Result<Protocol, Problem> {
    choice(key, value, &[Protocol::Tcp, Protocol::Udp])
}

/// A number of a range.
pub fn within<T>(key: &str, value: &str, range: RangeInclusive<T>) -> Result<T, Problem>
where
    T: FromStr + PartialOrd + Display,
{
    let expected = format!("a number from {} to {}", range.start(), range.end());
    let number = read(key, value, &expected)?;
    if range.contains(&number) { Ok(number) } else { Err(bad_value(key, value, &expected, None)) }
}

fn read<T: FromStr>(key: &str, value: &str, expected: &str) -> Result<T, Problem> {
    value.parse().map_err(|_| bad_value(key, value, expected, None))
}

pub fn name(key: &str, value: &str) -> Result<Name, Problem> {
    Name::new(value).map_err(|_| bad_value(key, value, "a name: 1 to 32 of letters, digits, '.', '_' and '-'", None))
}

fn choice<T: Word>(key: &str, value: &str, all: &[T]) -> Result<T, Problem> {
    let words: Vec<&str> = all.iter().map(|one| one.word()).collect();
    let guess = did_you_mean(value, words.iter().copied());
    let found = all.iter().find(|one| one.word() == value);
    found.copied().ok_or_else(|| bad_value(key, value, &format!("one of {}", words.join(", ")), guess))
}

fn bad_value(key: &str, value: &str, expected: &str, guess: Option<String>) -> Problem {
    let guess = guess.filter(|guess| guess.starts_with("did")).map_or(String::new(), |guess| format!("; {guess}"));
    Problem::bad_request(format!("{key}={} is not {expected}{guess}", quoted(value)))
        .with("key", key)
        .with("expected", expected)
}
