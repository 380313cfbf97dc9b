//! The account that a probe logs in with.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::words;

/// User and password, read from their file by the caller.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Account {
    /// The one message of SASL PLAIN (RFC 4616), in base64.
    pub(super) fn sasl_plain(&self) -> String {
        STANDARD.encode(format!("\0{}\0{}", self.user, self.password))
    }

    /// The two answers of SASL LOGIN, in base64.
    pub(super) fn sasl_login_user(&self) -> String {
        STANDARD.encode(&self.user)
    }

    pub(super) fn sasl_login_password(&self) -> String {
        STANDARD.encode(&self.password)
    }
}

/// `words::shown`, without the password: servers are known to repeat the command that they refuse.
pub(super) fn shown(account: Option<&Account>, line: &[u8]) -> String {
    let Some(account) = account.filter(|account| !account.password.is_empty()) else { return words::shown(line) };
    let password = &account.password;
    let secrets = [account.sasl_plain(), account.sasl_login_password(), escaped(password), password.clone()];
    let hidden = secrets.iter().fold(line.to_vec(), |line, secret| without(&line, secret.as_bytes()));
    words::shown(&hidden)
}

/// The line with `***` wherever the secret stood, which is not empty.
fn without(line: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut hidden = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(secret) {
            hidden.extend_from_slice(b"***");
            rest = behind;
        } else {
            hidden.push(*first);
            rest = behind;
        }
    }
    hidden
}

/// As it stands in a quoted string of IMAP (RFC 9051, 4.3).
pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A text that can be an argument of a command by lines: without line ends and NUL.
pub(super) fn sendable(text: &str) -> bool {
    !text.contains(['\r', '\n', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account { user: "probe".into(), password: "hunter2".into() }
    }

    #[test]
    fn a_password_is_not_in_what_debug_prints() {
        let text = format!("{:?}", account());
        assert!(text.contains("probe") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_server_that_repeats_the_password_does_not_bring_it_into_a_message() {
        let account = account();
        for secret in [account.sasl_plain(), account.sasl_login_password(), account.password.clone()] {
            let line = format!("502 unknown command {secret}, {secret}\r\n");
            assert_eq!(shown(Some(&account), line.as_bytes()), "502 unknown command ***, ***");
        }
    }

    #[test]
    fn an_odd_password_is_hidden_as_it_was_quoted() {
        let account = Account { password: "a\"b\\".into(), ..account() };
        assert_eq!(shown(Some(&account), br#"BAD "probe" "a\"b\\""#), r#"BAD "probe" "***""#);
    }

    #[test]
    fn an_empty_password_hides_nothing() {
        let account = Account { password: String::new(), ..account() };
        assert_eq!(shown(Some(&account), b"530 no\r\n"), "530 no");
    }

    #[test]
    fn sasl_plain_is_as_in_the_example_of_rfc_4616() {
        let account = Account { user: "tim".into(), password: "tanstaaftanstaaf".into() };
        assert_eq!(account.sasl_plain(), "AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
    }
}
