//! Lines as they may be written down: without passwords and their hashes.

use super::grammar::matcher::begins;

/// Instead of a secret.
const INSTEAD: &str = "<removed>";
/// Words of commands behind which a secret stands.
const BEFORE_SECRETS: [&str; 2] = ["secret", "password"];
/// What a password's line begins with; there also the shortest beginning of `secret` is one.
const LINES_OF_SECRETS: [&str; 2] = ["username", "enable"];
/// Elsewhere a beginning of so many letters is meant so: `se` is of `server` too.
const BEGINNING: usize = 3;

/// The line, without what stands behind a word for a secret. Rather too much is taken out than too little: a line with a
/// mistake in it may have a secret all the same.
pub fn redact(line: &str) -> String {
    let mut words = line.split_whitespace().peekable();
    let is_of_secrets = line
        .split_whitespace()
        .find(|word| *word != "no" && *word != "do")
        .is_some_and(|first| LINES_OF_SECRETS.iter().any(|word| begins(word, first)));
    let shortest = if is_of_secrets { 1 } else { BEGINNING };
    let mut out: Vec<&str> = Vec::new();
    // The name of a user may look like anything.
    let mut is_name = false;
    while let Some(word) = words.next() {
        out.push(word);
        let names_next = !is_name && out.len() <= 2 && begins("username", word);
        let is_before =
            !is_name && out.len() > 1 && word.len() >= shortest && BEFORE_SECRETS.iter().any(|of| begins(of, word));
        is_name = names_next;
        if is_before && words.peek().is_some() {
            out.push(INSTEAD);
            break;
        }
    }
    if out.last() == Some(&INSTEAD) { out.join(" ") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn no_secret_is_left_however_it_is_abbreviated() {
        for line in [
            "username admin secret hunter2",
            "username admin privilege 15 secret 9 $argon2id$hunter2",
            "USERNAME admin SECRET hunter2 and hunter2",
            "user admin s hunter2",
            "  u admin pri 15 sec \"hunter2 x\"",
            "enable secret hunter2",
            "en s 9 hunter2",
            "no enable sec hunter2",
            "do username a pass hunter2",
            "usrename admin secret hunter2",
            "username secret secret hunter2",
            "server radius password hunter2",
        ] {
            let redacted = redact(line);
            assert!(!redacted.contains("hunter2") && redacted.ends_with(" <removed>"), "{redacted}");
        }
    }

    #[test]
    fn other_lines_are_as_they_were() {
        for line in [
            "show se real pc1",
            "server real pc1",
            "username admin ssh-key ssh-ed25519 AAAA me",
            "username secret privilege 15",
            "enable secret",
            "secret",
            "check secret-file /etc/lbd/secret",
            "",
        ] {
            assert_eq!(redact(line), line);
        }
    }
}
