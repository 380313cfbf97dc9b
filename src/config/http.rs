//! The HTTP listener, and who may ask it: plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::model::{Name, Prefix};

#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// 1 to 16. At a loopback address plain HTTP is spoken, at others TLS. Default 127.0.0.1:8080; port 0 is any free one.
    pub listen: Vec<SocketAddr>,
    /// Without it there is no listener outside loopback.
    pub tls: Option<HttpTls>,
    /// Networks that may connect from outside loopback; empty: none.
    pub allow: Vec<Prefix>,
    /// Also on loopback nobody is answered who does not say who he is.
    pub require_token: bool,
    /// For programs, by name. The boxes of a pair have the same.
    pub tokens: BTreeMap<Name, Token>,
}

impl Http {
    /// Whether an address is of this machine alone. One that maps IPv4 into IPv6 is none: no client comes by it.
    pub fn is_local(address: SocketAddr) -> bool {
        address.ip().is_loopback()
    }

    /// Whether somebody from this address may connect to a listener outside loopback.
    pub fn lets_in(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allow.iter().any(|prefix| prefix.contains(address))
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))],
            tls: None,
            allow: Vec::new(),
            require_token: false,
            tokens: BTreeMap::new(),
        }
    }
}

/// Files, each PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTls {
    /// The certificate, and those between it and its root behind it.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What lets a program in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub hash: TokenHash,
    /// 0 reads the metrics, 1 looks, 7 orders about servers and the pair, 15 does everything.
    pub level: u8,
    /// The last day on which it is good, in UTC.
    pub expires: Option<Date>,
    /// Networks from which it is good; empty: all.
    pub from: Vec<Prefix>,
}

impl Token {
    pub const LEVEL_DEFAULT: u8 = 1;
}

/// SHA-256 of a token, written `sha256:` and 64 hexadecimal digits. Never the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Takes a hash; says what is wrong with a text that is none, and never shows it: it may be a token.
    pub fn new(text: &str) -> Result<Self, String> {
        let wrong = || "no hash of a token: it is sha256: and 64 hexadecimal digits".to_owned();
        let digits = text.strip_prefix("sha256:").map(str::as_bytes).ok_or_else(wrong)?;
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return Err(wrong());
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = [0, 1].map(|at| pair.get(at).copied().and_then(digit));
            *byte = high.ok_or_else(wrong)? << 4 | low.ok_or_else(wrong)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A day of the Gregorian calendar, `2027-01-31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(time::Date);

impl Date {
    /// Takes a day as ISO 8601 has it.
    pub fn new(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no day");
        let mut fields = text.split('-');
        let mut field = |digits: usize| {
            let field =
                fields.next().filter(|field| field.len() == digits && field.bytes().all(|b| b.is_ascii_digit()));
            field.and_then(|field| field.parse::<u16>().ok()).ok_or_else(wrong)
        };
        let (year, month, day) = (field(4)?, field(2)?, field(2)?);
        let month = u8::try_from(month).ok().and_then(|month| time::Month::try_from(month).ok()).ok_or_else(wrong)?;
        let day = u8::try_from(day).map_err(|_| wrong())?;
        match fields.next() {
            None => time::Date::from_calendar_date(year.into(), month, day).map(Self).map_err(|_| wrong()),
            Some(_) => Err(wrong()),
        }
    }

    /// Whether it is over, at a Unix time in seconds.
    pub fn is_over(&self, unix: u64) -> bool {
        let next = self.0.next_day().map(|day| day.midnight().assume_utc().unix_timestamp());
        next.is_some_and(|next| i64::try_from(unix).unwrap_or(i64::MAX) >= next)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.year(), u8::from(self.0.month()), self.0.day())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_over_when_the_next_one_begins() {
        let day = Date::new("2027-02-28").unwrap();
        let next = 1_803_859_200;
        assert!(!day.is_over(next - 1) && day.is_over(next) && day.is_over(u64::MAX));
        assert_eq!(day.to_string(), "2027-02-28");
        for text in ["", "2027-02-29", "2027-2-28", "2027-13-01", "2027-01-01-01", "+202-01-01", "2027-01", "tomorrow"]
        {
            assert!(Date::new(text).is_err(), "{text}");
        }
        assert!(!Date::new("9999-12-31").unwrap().is_over(u64::MAX), "a day that has no next one");
    }

    #[test]
    fn what_is_no_hash_is_refused_and_never_shown() {
        let digits = "0123456789abcdef".repeat(4);
        let hash = TokenHash::new(&format!("sha256:{digits}")).unwrap();
        assert_eq!(hash.to_string(), format!("sha256:{digits}"));
        assert!(!format!("{hash:?}").contains("0123"));
        for text in
            [digits.clone(), "sha256:".into(), format!("sha256:{}", &digits[1..]), format!("sha256:é{}", &digits[2..])]
        {
            let error = TokenHash::new(&text).unwrap_err();
            assert!(!error.contains("0123456789"), "{error}");
        }
    }

    #[test]
    fn nobody_is_let_in_from_outside_unless_he_is_named() {
        let mut http = Http::default();
        assert!(!http.lets_in("192.0.2.1".parse().unwrap()));
        http.allow = vec![Prefix { address: "192.0.2.0".parse().unwrap(), length: 24 }];
        assert!(http.lets_in("::ffff:192.0.2.1".parse().unwrap()) && !http.lets_in("192.0.3.1".parse().unwrap()));
    }
}
