//! Threshold ranges (Monitoring Plugins Development Guidelines, section "Threshold and Ranges").

use std::fmt;

/// Where a value is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    first: f64,
    last: f64,
    /// It is bad inside, and not outside.
    inverted: bool,
}

impl Range {
    /// Takes `10`, `10:`, `~:10`, `10:20`, and each with `@` before it.
    pub fn new(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no range; such as 10, 10:, ~:10, 10:20 or @10:20");
        let (inverted, rest) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
        let number = |text: &str| {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
            text.parse::<f64>().ok().filter(|_| is_plain).ok_or_else(wrong)
        };
        let (first, last) = match rest.split_once(':') {
            None => (0.0, number(rest)?),
            Some((first, last)) => {
                let first = if first == "~" { f64::NEG_INFINITY } else { number(first)? };
                (first, if last.is_empty() { f64::INFINITY } else { number(last)? })
            }
        };
        if first > last { Err(wrong()) } else { Ok(Self { first, last, inverted }) }
    }

    /// Bad if it is less.
    pub fn at_least(count: usize) -> Self {
        Self { first: count as f64, last: f64::INFINITY, inverted: false }
    }

    pub fn is_bad(&self, value: f64) -> bool {
        (self.first..=self.last).contains(&value) == self.inverted
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inverted {
            f.write_str("@")?;
        }
        match (self.first, self.last) {
            (0.0, last) if last.is_finite() => write!(f, "{last}"),
            (first, last) => {
                if first.is_infinite() {
                    f.write_str("~:")?;
                } else {
                    write!(f, "{first}:")?;
                }
                if last.is_finite() { write!(f, "{last}") } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guidelines' own examples.
    #[test]
    fn ranges_are_good_where_the_guidelines_say() {
        for (text, bad, good) in [
            ("10", vec![-1.0, 11.0], vec![0.0, 10.0]),
            ("10:", vec![9.9], vec![10.0, 1e9]),
            ("~:10", vec![10.5], vec![-1e9, 10.0]),
            ("10:20", vec![9.0, 21.0], vec![10.0, 20.0]),
            ("@10:20", vec![10.0, 15.0, 20.0], vec![9.0, 21.0]),
            ("@1:5", vec![1.0, 5.0], vec![0.0, 6.0]),
            ("0", vec![1.0, -1.0], vec![0.0]),
        ] {
            let range = Range::new(text).unwrap();
            assert_eq!(range.to_string(), text);
            assert!(bad.iter().all(|value| range.is_bad(*value)), "{text}");
            assert!(!good.iter().any(|value| range.is_bad(*value)), "{text}");
        }
        for text in ["", ":", "a", "20:10", "@", "1:2:3", "NaN", "inf", "~", "1e3", "~:~", " 1"] {
            assert!(Range::new(text).is_err(), "{text}");
        }
    }
}
