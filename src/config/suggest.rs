//! "Did you mean …?"

/// The candidate that `text` was probably meant to be, if one is near.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A guess helps only if most letters agree: one in three may differ.
    let lower = text.to_lowercase().replace(['_', ' '], "-");
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance * 3 <= candidate.chars().count().max(lower.chars().count()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or else "one of `a`, `b`, `c`".
pub fn did_you_mean<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    /// More names than this are no help.
    const LISTED_MAX: usize = 20;
    // Names are short; a distance to a text of megabytes costs seconds.
    if text.len() <= 64
        && let Some(near) = nearest(text, candidates.clone())
    {
        return Some(format!("did you mean `{near}`?"));
    }
    let mut list: Vec<String> = candidates.into_iter().take(LISTED_MAX + 1).map(|c| format!("`{c}`")).collect();
    match list.len() {
        0 => None,
        1 => Some(format!("there is {}", list.concat())),
        n if n > LISTED_MAX => {
            list.truncate(LISTED_MAX);
            Some(format!("there are {}, …", list.join(", ")))
        }
        _ => Some(format!("there are {}", list.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULERS: [&str; 4] = ["maglev", "round-robin", "least-connections", "source-hash"];

    #[test]
    fn a_slip_of_the_finger_finds_the_word() {
        for (text, meant) in [
            ("least-connection", "least-connections"),
            ("leastconnections", "least-connections"),
            ("Round_Robin", "round-robin"),
            ("roundrobin", "round-robin"),
            ("maglve", "maglev"),
            ("sourcehash", "source-hash"),
        ] {
            assert_eq!(nearest(text, SCHEDULERS), Some(meant), "{text}");
        }
    }

    #[test]
    fn a_wholly_other_word_gets_the_list_instead_of_a_guess() {
        assert_eq!(nearest("weighted", SCHEDULERS), None);
        let listed = did_you_mean("weighted", SCHEDULERS);
        assert_eq!(listed.as_deref(), Some("there are `maglev`, `round-robin`, `least-connections`, `source-hash`"));
    }

    #[test]
    fn a_text_of_megabytes_is_not_compared() {
        assert!(did_you_mean(&"x".repeat(1 << 22), SCHEDULERS).is_some_and(|help| help.starts_with("there are")));
    }
}
