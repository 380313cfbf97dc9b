//! How single values are written: reading, and the schema that an editor
//! checks them by, side by side so that the two agree.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::{Schema, json_schema};

use super::choice::Choice;
use crate::config::diagnostic::Complaint;
use crate::config::limits::Range;
use crate::config::suggest::{did_you_mean, nearest};
use crate::config::users::{Secret, SshKey, check_banner};
use crate::config::validate::{check_number, check_time};
use crate::config::{AgentAddress, Date, Mac, Migrate, Name, Ports, Prefix, TokenHash, limits, services};

/// A way to write a value.
pub trait Notation {
    type Value;
    fn read(text: &str) -> Result<Self::Value, Complaint>;
    /// JSON Schema, draft 2020-12.
    fn schema() -> Schema;
}

/// A text as it can stand in a message: no control characters, no novel.
pub fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let mut short: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}

fn parsed<T: std::str::FromStr>(text: &str, what: &str, example: &str) -> Result<T, Complaint> {
    text.parse()
        .map_err(|_| Complaint::new(format!("{} is not {what}", shown(text))).help(format!("such as {example}")))
}

/// A word out of a fixed list.
pub struct OneOf<T>(PhantomData<T>);

impl<T: Choice> Notation for OneOf<T> {
    type Value = T;
    fn read(text: &str) -> Result<T, Complaint> {
        let words = T::CHOICES.iter().map(|(word, _)| *word);
        match T::CHOICES.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let mut complaint = Complaint::new(format!("there is no {} {}", T::WHAT, shown(text)));
                complaint.help = did_you_mean(text, words);
                Err(complaint)
            }
        }
    }
    fn schema() -> Schema {
        let words: Vec<&str> = T::CHOICES.iter().map(|(word, _)| *word).collect();
        json_schema!({ "enum": words })
    }
}

pub struct YesNo;

impl Notation for YesNo {
    type Value = bool;
    fn read(text: &str) -> Result<bool, Complaint> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Complaint::new(format!("{} is neither `true` nor `false`", shown(text)))),
        }
    }
    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// A whole number.
pub struct Number<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Notation for Number<MIN, MAX> {
    type Value = u32;
    fn read(text: &str) -> Result<u32, Complaint> {
        let range = Range { min: MIN, max: MAX };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Complaint::new(format!("{} is not a whole number", shown(text)))
                .help(format!("a whole number from {MIN} to {MAX} can stand here")));
        }
        // More digits than a u64 has, or a sign: out of any range.
        let out_of_range = || {
            Complaint::new(format!("{} is out of range", shown(text)))
                .help(format!("a whole number from {MIN} to {MAX} can stand here"))
        };
        let value: u64 = text.parse().map_err(|_| out_of_range())?;
        check_number(value, range)?;
        u32::try_from(value).map_err(|_| out_of_range())
    }
    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A time with its unit, `30s`; the range is in milliseconds.
pub struct Time<const MIN: u32, const MAX: u32>;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl<const MIN: u32, const MAX: u32> Notation for Time<MIN, MAX> {
    type Value = Duration;
    fn read(text: &str) -> Result<Duration, Complaint> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(unit_at);
        if !digits.is_empty() && unit.is_empty() {
            return Err(Complaint::new(format!("{} has no unit", shown(text)))
                .help(format!("add one: `{digits}s` for seconds; there are ms, s, m, h and d")));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (Some((_, size)), false) = (known, digits.is_empty()) else {
            return Err(Complaint::new(format!("{} is not a time", shown(text)))
                .help("a whole number and one unit: 500ms, 30s, 40m, 2h, 1d"));
        };
        let ms = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(*size)).unwrap_or(u64::MAX);
        let value = Duration::from_millis(ms);
        check_time(value, Range { min: MIN, max: MAX })?;
        Ok(value)
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
}

/// The name of an object.
pub struct NameText;

impl Notation for NameText {
    type Value = Name;
    fn read(text: &str) -> Result<Name, Complaint> {
        Name::new(text).map_err(Complaint::new)
    }
    fn schema() -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[A-Za-z0-9._-]+$", "minLength": 1, "maxLength": Name::LENGTH_MAX
        })
    }
}

/// The name of an interface, as the kernel has it.
pub struct InterfaceText;

impl Notation for InterfaceText {
    type Value = String;
    fn read(text: &str) -> Result<String, Complaint> {
        Ok(text.to_owned()) // `validate` knows the kernel's rules
    }
    fn schema() -> Schema {
        let pattern = r"^[^\s/:]+$";
        json_schema!({
            "type": "string", "pattern": pattern, "minLength": 1, "maxLength": limits::INTERFACE_NAME_BYTES_MAX
        })
    }
}

fn port(text: &str) -> Result<u16, Complaint> {
    if let Some(port) = services::port_of(text) {
        return Ok(port);
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse() {
            Ok(0) | Err(_) => {
                Err(Complaint::new(format!("{} is no port", shown(text))).help("ports go from 1 to 65535"))
            }
            Ok(port) => Ok(port),
        };
    }
    let mut complaint = Complaint::new(format!("{} is neither a port nor a known service", shown(text)));
    complaint.help = match nearest(text.get(..64).unwrap_or(text), services::names()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => Some("write its number, from 1 to 65535".into()),
    };
    Err(complaint)
}

const PORT_RANGE: &str = "^[0-9]+-[0-9]+$";

fn port_schema(with_range: bool) -> Schema {
    let mut names: Vec<&str> = services::names().collect();
    names.sort_unstable();
    let number = json_schema!({ "type": "integer", "minimum": 1, "maximum": 65535 });
    let name = json_schema!({ "enum": names });
    if with_range {
        json_schema!({ "anyOf": [number, name, { "type": "string", "pattern": PORT_RANGE }] })
    } else {
        json_schema!({ "anyOf": [number, name] })
    }
}

/// One port: its number, or the name of its service.
pub struct PortText;

impl Notation for PortText {
    type Value = u16;
    fn read(text: &str) -> Result<u16, Complaint> {
        match text.split_once('-') {
            Some((first, last)) if port(first).is_ok() && port(last).is_ok() && services::port_of(text).is_none() => {
                Err(Complaint::new(format!("{} is a range; only one port can stand here", shown(text))))
            }
            _ => port(text),
        }
    }
    fn schema() -> Schema {
        port_schema(false)
    }
}

/// One port, or a range of ports `first-last`.
pub struct PortsText;

impl Notation for PortsText {
    type Value = Ports;
    fn read(text: &str) -> Result<Ports, Complaint> {
        let is_range = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let Some((first, last)) = text.split_once('-').filter(|_| is_range) else {
            return port(text).map(Ports::single);
        };
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(Complaint::new(format!("the range {} ends before it begins", shown(text)))
                .help(format!("write {last}-{first}")));
        }
        Ok(Ports { first, last })
    }
    fn schema() -> Schema {
        port_schema(true)
    }
}

pub struct AddressText;

impl Notation for AddressText {
    type Value = IpAddr;
    fn read(text: &str) -> Result<IpAddr, Complaint> {
        without_length(text)?;
        parsed(text, "an IP address", "192.0.2.25 or 2001:db8::25")
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
    }
}

pub struct Address4Text;

impl Notation for Address4Text {
    type Value = Ipv4Addr;
    fn read(text: &str) -> Result<Ipv4Addr, Complaint> {
        without_length(text)?;
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(Complaint::new(format!("{} is an IPv6 address", shown(text))).help("it belongs in `address6`"));
        }
        parsed(text, "an IPv4 address", "10.1.0.11")
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "format": "ipv4" })
    }
}

pub struct Address6Text;

impl Notation for Address6Text {
    type Value = Ipv6Addr;
    fn read(text: &str) -> Result<Ipv6Addr, Complaint> {
        without_length(text)?;
        if text.parse::<Ipv4Addr>().is_ok() {
            return Err(Complaint::new(format!("{} is an IPv4 address", shown(text))).help("it belongs in `address`"));
        }
        parsed(text, "an IPv6 address", "fd00:1::11")
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "format": "ipv6" })
    }
}

fn without_length(text: &str) -> Result<(), Complaint> {
    match text.split_once('/') {
        Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
            let message = format!("{} has the length of a prefix; only an address can stand here", shown(text));
            Err(Complaint::new(message).help(format!("write {address}")))
        }
        _ => Ok(()),
    }
}

/// An address with the length of its network's prefix.
pub struct PrefixText;

impl Notation for PrefixText {
    type Value = Prefix;
    fn read(text: &str) -> Result<Prefix, Complaint> {
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = parsed(address, "an IP address", "10.1.0.1/24 or fd00:1::1/64")?;
        let (typical, longest) = if address.is_ipv4() { (24, 32) } else { (64, 128) };
        if length.is_empty() {
            return Err(Complaint::new(format!("{} lacks the length of its network's prefix", shown(text)))
                .help(format!("such as {address}/{typical}")));
        }
        match length.parse() {
            Ok(length) if (1..=longest).contains(&length) => Ok(Prefix { address, length }),
            _ => Err(Complaint::new(format!("{} is no length of a prefix here", shown(length)))
                .help(format!("it goes from 1 to {longest}; such as {address}/{typical}"))),
        }
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]+$" })
    }
}

/// An Ethernet address.
pub struct MacText;

impl Notation for MacText {
    type Value = Mac;
    fn read(text: &str) -> Result<Mac, Complaint> {
        let wrong = || {
            Complaint::new(format!("{} is not a MAC address", shown(text)))
                .help("six pairs of hexadecimal digits, such as 02:00:5e:00:00:01")
        };
        let mut mac = Mac::default();
        let mut pairs = text.split(':');
        for byte in &mut mac.0 {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong)?;
        }
        if pairs.next().is_some() { Err(wrong()) } else { Ok(mac) }
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$" })
    }
}

/// Address and port of a listener.
pub struct ListenText;

impl Notation for ListenText {
    type Value = SocketAddr;
    fn read(text: &str) -> Result<SocketAddr, Complaint> {
        parsed(text, "an address with a port", "127.0.0.1:8080 or \"[::1]:8080\"")
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$" })
    }
}

/// One line of text: what a probe sends or looks for.
pub struct LineText;

impl Notation for LineText {
    type Value = String;
    fn read(text: &str) -> Result<String, Complaint> {
        one_line(text)?;
        Ok(text.to_owned())
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "maxLength": limits::OPTION_BYTES_MAX })
    }
}

fn one_line(text: &str) -> Result<(), Complaint> {
    if text.len() > limits::OPTION_BYTES_MAX {
        let message = format!("{} has {} bytes", shown(text), text.len());
        return Err(Complaint::new(message).help(format!("at most {} can stand here", limits::OPTION_BYTES_MAX)));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(_) => Err(Complaint::new(format!("{} has a control character", shown(text)))
            .help("one line of printable text can stand here")),
        None => Ok(()),
    }
}

/// The hash of a password.
pub struct SecretText;

impl Notation for SecretText {
    type Value = Secret;
    fn read(text: &str) -> Result<Secret, Complaint> {
        // The text is not shown: it may be a password that somebody has put here.
        Secret::new(text).map_err(|wrong| {
            Complaint::new(wrong).help("`lbd secret` makes a hash of a password, and so does `openssl passwd -6`")
        })
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": r"^\$(argon2id|6)\$" })
    }
}

/// The hash of a token.
pub struct TokenHashText;

impl Notation for TokenHashText {
    type Value = TokenHash;
    fn read(text: &str) -> Result<TokenHash, Complaint> {
        // The text is not shown: it may be a token that somebody has put here.
        TokenHash::new(text).map_err(|wrong| Complaint::new(wrong).help("`lbd token NAME` makes a token and its hash"))
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^sha256:[0-9A-Fa-f]{64}$" })
    }
}

/// A day.
pub struct DateText;

impl Notation for DateText {
    type Value = Date;
    fn read(text: &str) -> Result<Date, Complaint> {
        Date::new(text).map_err(|_| {
            Complaint::new(format!("{} is no day", shown(text))).help("year, month and day, such as 2027-01-31")
        })
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "format": "date" })
    }
}

/// A public key, as the line of its .pub file.
pub struct SshKeyText;

impl Notation for SshKeyText {
    type Value = SshKey;
    fn read(text: &str) -> Result<SshKey, Complaint> {
        SshKey::new(text).map_err(Complaint::new)
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)) AAAA" })
    }
}

/// Lines of text that are shown before the login.
pub struct BannerText;

impl Notation for BannerText {
    type Value = String;
    fn read(text: &str) -> Result<String, Complaint> {
        // As a block (`banner: |`) ends in a line break, and one line in none.
        let text = text.trim_end_matches('\n');
        check_banner(text).map_err(|(wrong, help)| Complaint::new(wrong).help(help))?;
        Ok(text.to_owned())
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "maxLength": limits::BANNER_BYTES_MAX })
    }
}

/// An argument of a command. Numbers and truth values are taken as they are written.
pub struct ArgumentText;

impl Notation for ArgumentText {
    type Value = String;
    fn read(text: &str) -> Result<String, Complaint> {
        LineText::read(text)
    }
    fn schema() -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// The absolute path of a file.
pub struct FileText;

impl Notation for FileText {
    type Value = PathBuf;
    fn read(text: &str) -> Result<PathBuf, Complaint> {
        one_line(text)?;
        if !text.starts_with('/') {
            return Err(Complaint::new(format!("{} is not an absolute path", shown(text)))
                .help("such as /etc/lbd/probe.password"));
        }
        Ok(PathBuf::from(text))
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^/", "maxLength": limits::OPTION_BYTES_MAX })
    }
}

/// Where an SNMP agent waits for subagents: an absolute path, or `tcp:` with address and port.
pub struct AgentText;

impl Notation for AgentText {
    type Value = AgentAddress;
    fn read(text: &str) -> Result<AgentAddress, Complaint> {
        match text.strip_prefix("tcp:") {
            Some(at) => parsed(at, "an address with a port", "tcp:127.0.0.1:705").map(AgentAddress::Tcp),
            None if text.starts_with('/') => FileText::read(text).map(AgentAddress::Path),
            None => Err(Complaint::new(format!("{} is no place of an SNMP agent", shown(text)))
                .help("such as /var/agentx/master or tcp:127.0.0.1:705")),
        }
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(/|tcp:)", "maxLength": limits::OPTION_BYTES_MAX })
    }
}

/// A part of a whole in per cent with up to two decimals: hundredths of a per cent.
pub struct PercentText;

impl Notation for PercentText {
    type Value = u16;
    fn read(text: &str) -> Result<u16, Complaint> {
        let wrong = || {
            Complaint::new(format!("{} is not a share", shown(text)))
                .help("from 0% to 100%, with at most two decimals: 12.5%")
        };
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 3) || !digits(decimals, 2) {
            return Err(wrong());
        }
        let hundredths: u16 = format!("{decimals:0<2}").parse().map_err(|_| wrong())?;
        let share = whole.parse::<u16>().map_err(|_| wrong())? * 100 + hundredths;
        if share <= Migrate::SHARE_MAX { Ok(share) } else { Err(wrong()) }
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,2})?%$" })
    }
}

/// An HTTP status code, or a range of them.
pub struct StatusText;

impl Notation for StatusText {
    type Value = (u16, u16);
    fn read(text: &str) -> Result<(u16, u16), Complaint> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=599).contains(code));
        match (code(first), code(last)) {
            (Some(first), Some(last)) if first <= last => Ok((first, last)),
            _ => Err(Complaint::new(format!("{} is neither a status code nor a range of them", shown(text)))
                .help("codes go from 100 to 599: 200, or 200-399")),
        }
    }
    fn schema() -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^[1-5][0-9]{2}-[1-5][0-9]{2}$" }
        ] })
    }
}

fn one_of(text: &str, what: &str, words: &[&str]) -> Result<String, Complaint> {
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    let mut complaint = Complaint::new(format!("{} is no {what} that lbd asks for", shown(text)));
    complaint.help = did_you_mean(text, words.iter().copied());
    Err(complaint)
}

/// Types of DNS records.
pub struct RecordText;

impl RecordText {
    pub const WORDS: [&str; 9] = ["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];
}

impl Notation for RecordText {
    type Value = String;
    fn read(text: &str) -> Result<String, Complaint> {
        one_of(text, "type of record", &Self::WORDS)
    }
    fn schema() -> Schema {
        json_schema!({ "enum": Self::WORDS })
    }
}

/// DNS response codes (RFC 1035, 4.1.1).
pub struct RcodeText;

impl RcodeText {
    pub const WORDS: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
}

impl Notation for RcodeText {
    type Value = String;
    fn read(text: &str) -> Result<String, Complaint> {
        one_of(text, "response code", &Self::WORDS)
    }
    fn schema() -> Schema {
        json_schema!({ "enum": Self::WORDS })
    }
}
