//! What stands for a value in a command: how it is written in the table, what help shows, what a word must be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::limits::Range;
use crate::config::{Mac, Name, Ports, Prefix, services, yaml};

/// What a time may be is said by the command that takes it.
const ANY_TIME: Range = Range { min: 0, max: u32::MAX };

/// Kinds of objects that a configuration has names for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Real,
    Virtual,
    Pool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A whole number of this range.
    Number(u64, u64),
    Address,
    Address4,
    Address6,
    Prefix,
    Mac,
    /// The name of an object that there is.
    Object(Kind),
    /// The name of an object, which may be a new one.
    Name,
    /// A port by number, or a service by name.
    Port,
    /// A port, or a range of ports.
    Ports,
    /// `2s`, `500ms`, `5m`, `1h`, `1d`, or a number of seconds.
    Time,
    /// The same, or a number of minutes.
    Minutes,
    /// A share in per cent, with up to two digits behind the point.
    Share,
    Word,
    /// All that follows.
    Line,
}

impl Argument {
    /// As it is written in a syntax; `None`: there is no such argument.
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "IP" => Self::Address,
            "IPV4" => Self::Address4,
            "IPV6" => Self::Address6,
            "PREFIX" => Self::Prefix,
            "MAC" => Self::Mac,
            "REAL" => Self::Object(Kind::Real),
            "VIRTUAL" => Self::Object(Kind::Virtual),
            "POOL" => Self::Object(Kind::Pool),
            "NAME" => Self::Name,
            "PORT" => Self::Port,
            "PORTS" => Self::Ports,
            "TIME" => Self::Time,
            "MINUTES" => Self::Minutes,
            "SHARE" => Self::Share,
            "WORD" => Self::Word,
            "LINE" => Self::Line,
            range => {
                let (first, last) = range.split_once('-')?;
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(Self::Number(first, last))?
            }
        })
    }

    /// As help shows it: in the manner of IOS.
    pub fn shown(&self) -> String {
        match self {
            Self::Number(first, last) => format!("<{first}-{last}>"),
            Self::Address => "A.B.C.D|X:X::X".into(),
            Self::Address4 => "A.B.C.D".into(),
            Self::Address6 => "X:X::X".into(),
            Self::Prefix => "A.B.C.D/LEN|X:X::X/LEN".into(),
            Self::Mac => "HH:HH:HH:HH:HH:HH".into(),
            Self::Object(Kind::Real) => "REAL".into(),
            Self::Object(Kind::Virtual) => "VIRTUAL".into(),
            Self::Object(Kind::Pool) => "POOL".into(),
            Self::Name => "NAME".into(),
            Self::Port => "PORT".into(),
            Self::Ports => "PORT[-PORT]".into(),
            Self::Time => "TIME".into(),
            Self::Minutes => "MINUTES".into(),
            Self::Share => "PERCENT".into(),
            Self::Word => "WORD".into(),
            Self::Line => "LINE".into(),
        }
    }

    /// Whether a word is one; else what is wrong with it, in words.
    pub fn check(&self, word: &str) -> Result<(), String> {
        let expected = |what: &str| format!("{word} is no {what}");
        match self {
            Self::Number(first, last) => match word.parse::<u64>() {
                Ok(number) if (*first..=*last).contains(&number) => Ok(()),
                Ok(_) => Err(format!("{word} is not within {first} to {last}")),
                Err(_) => Err(expected("number")),
            },
            Self::Address => word.parse::<IpAddr>().map(drop).map_err(|_| expected("address")),
            Self::Address4 => word.parse::<Ipv4Addr>().map(drop).map_err(|_| expected("IPv4 address")),
            Self::Address6 => word.parse::<Ipv6Addr>().map(drop).map_err(|_| expected("IPv6 address")),
            Self::Prefix => prefix(word).map(drop).ok_or_else(|| expected("network, such as 192.0.2.0/24")),
            Self::Mac => mac(word).map(drop).ok_or_else(|| expected("MAC, such as 02:00:00:00:00:01")),
            Self::Object(_) | Self::Name => Name::new(word).map(drop),
            Self::Port => port(word).map(drop).ok_or_else(|| expected("port, 1 to 65535 or a service's name")),
            Self::Ports => ports(word).map(drop).ok_or_else(|| expected("port or range of ports, such as 5000-5100")),
            Self::Time => {
                yaml::time(&with_unit(word), ANY_TIME).map(drop).map_err(|_| expected("time, such as 2s, 500ms or 5m"))
            }
            Self::Minutes => yaml::time(&minutes(word), ANY_TIME)
                .map(drop)
                .map_err(|_| expected("time, such as 10 (minutes) or 90s")),
            Self::Share => share(word).map(drop).ok_or_else(|| expected("share, 0 to 100 with two digits at most")),
            Self::Word | Self::Line => Ok(()),
        }
    }
}

/// `192.0.2.0/24`.
pub fn prefix(text: &str) -> Option<Prefix> {
    let (address, length) = text.split_once('/')?;
    let (address, length): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
    (length <= Prefix::host(address).length).then_some(Prefix { address, length })
}

/// Six pairs of digits, or three groups of four with points between, as switches show it.
pub fn mac(text: &str) -> Option<Mac> {
    let digits: String = match (text.split([':', '-']).count(), text.split('.').count()) {
        (6, 1) => text.split([':', '-']).filter(|part| part.len() == 2).collect(),
        (1, 3) => text.split('.').filter(|part| part.len() == 4).collect(),
        _ => return None,
    };
    if digits.len() != 12 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut octets = [0; 6];
    for (octet, at) in octets.iter_mut().zip((0..12).step_by(2)) {
        *octet = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(Mac(octets))
}

/// By number or by name.
pub fn port(text: &str) -> Option<u16> {
    match text.parse::<u16>() {
        Ok(0) => None,
        Ok(port) => Some(port),
        Err(_) => services::port_of(text),
    }
}

pub fn ports(text: &str) -> Option<Ports> {
    if let Some(port) = port(text) {
        return Some(Ports::single(port));
    }
    let (first, last) = text.split_once('-')?;
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(Ports { first, last })
}

/// A time with its unit: a number by itself is one of minutes, as IOS has it.
pub fn minutes(text: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("{text}m") } else { text.to_owned() }
}

/// A time as the file writes it: a bare number is of seconds here.
pub fn with_unit(text: &str) -> String {
    let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_bare { format!("{text}s") } else { text.to_owned() }
}

/// In hundredths of a per cent.
pub fn share(text: &str) -> Option<u16> {
    let text = text.strip_suffix('%').unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.is_empty() || part.len() > 2 || !part.bytes().chain(whole.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hundredths: u16 = format!("{part:0<2}").parse().ok()?;
    let share = whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
    (share <= 10_000).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_takes_what_it_is_for_and_says_what_it_is_not() {
        for (name, good, bad) in [
            ("1-100", &["1", "100"][..], &["0", "101", "-1", "x", ""][..]),
            ("IP", &["192.0.2.1", "::1"], &["192.0.2", "192.0.2.1/24"]),
            ("IPV4", &["192.0.2.1"], &["::1"]),
            ("IPV6", &["2001:db8::25"], &["192.0.2.1"]),
            ("PREFIX", &["192.0.2.0/24", "::/0"], &["192.0.2.0", "192.0.2.0/33", "::/129"]),
            (
                "MAC",
                &["02:00:00:00:00:01", "0012.f2a7.c7a0", "02-00-00-00-00-0A"],
                &["02:00:00:00:00", "0200.0000.000g"],
            ),
            ("NAME", &["mx1", "a.b-c_d"], &["a b", "", "ä", "123456789012345678901234567890123"]),
            ("PORT", &["25", "smtp", "SMTP", "65535"], &["0", "65536", "nosuch"]),
            ("PORTS", &["25", "5000-5100", "ftp-data", "ftp-telnet"], &["5100-5000", "0-5", "-"]),
            ("TIME", &["2", "2s", "500ms", "5m", "24h", "1d", "0"], &["2w", "s", "", "-1s", "1.5s"]),
            ("SHARE", &["0", "100", "10.5", "0.01", "33.33%"], &["100.01", "1.234", ".5", "1.", "x"]),
        ] {
            let argument = Argument::named(name).unwrap();
            for word in good {
                assert_eq!(argument.check(word), Ok(()), "{name} {word:?}");
            }
            for word in bad {
                assert!(argument.check(word).is_err_and(|words| !words.is_empty()), "{name} {word:?}");
            }
        }
    }

    #[test]
    fn values_are_read_as_they_are_meant() {
        assert_eq!(mac("0012.f2a7.c7a0"), Some(Mac([0, 0x12, 0xf2, 0xa7, 0xc7, 0xa0])));
        assert_eq!(share("10.5"), Some(1_050));
        assert_eq!(yaml::time(&with_unit("2"), ANY_TIME), Ok(std::time::Duration::from_secs(2)));
        assert_eq!(ports("ftp-data"), Some(Ports::single(20)), "a name is no range");
    }

    #[test]
    fn no_other_argument_has_a_name() {
        for word in ["FOO", "5-1", "1-", "A-B", ""] {
            assert_eq!(Argument::named(word), None, "{word}");
        }
    }
}
