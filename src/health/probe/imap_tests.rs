use super::*;
use crate::health::probe::Conversation;
use crate::health::probe::dialogue::tests::{account, check, login, starttls, verdict, whole};

fn with(options: &MailboxProbe) -> Box<dyn Conversation> {
    Box::new(Imap::new(options, options.login.is_some().then(account)))
}

fn plain() -> Box<dyn Conversation> {
    with(&MailboxProbe::default())
}

fn tls() -> Box<dyn Conversation> {
    with(&MailboxProbe { security: starttls(), ..Default::default() })
}

fn with_login() -> Box<dyn Conversation> {
    with(&MailboxProbe { login: login(), ..Default::default() })
}

#[test]
fn greeting_and_capabilities_are_enough() {
    check(
        &plain,
        &[
            (
                "S: * OK hi\nC: A1 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: A1 OK\nC: A2 LOGOUT",
                "up: OK after CAPABILITY",
            ),
            ("S: * OK [CAPABILITY IMAP4rev1 IDLE] hi\nC: A1 LOGOUT", "up: OK in the greeting"),
            ("S: * PREAUTH [CAPABILITY IMAP4rev1] hi\nC: A1 LOGOUT", "up: OK in the greeting"),
            ("S: * OK hi\nC: A1 CAPABILITY\nS: A1 BAD what?\nC: A2 LOGOUT", "rejected: CAPABILITY answered BAD what?"),
            ("S: * OK hi\nC: A1 CAPABILITY\nS: A1 OK", "malformed: answer to CAPABILITY is not of the protocol: OK"),
            ("S: * OK hi\nC: A1 CAPABILITY\nS: A2 OK", "malformed: answer to CAPABILITY is not of the protocol: A2 OK"),
        ],
    );
}

#[test]
fn a_greeting_that_refuses_is_told_as_it_came() {
    check(
        &plain,
        &[
            ("S: * BYE too many connections", "busy: greeting BYE too many connections"),
            ("S: * BYE [ALERT] too many connections", "busy: greeting BYE [ALERT] too many connections"),
            ("S: * NO way", "malformed: greeting is not of the protocol: NO way"),
            ("S: A0 OK hi", "malformed: greeting is not of the protocol: A0 OK hi"),
            (
                "CLOSED",
                "closed: closed before a greeting: a limit of connections per address (Courier: MAXPERIP, MAXDAEMONS)?",
            ),
        ],
    );
}

#[test]
fn starttls_is_followed_by_capability_again() {
    let to_starttls = "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hi\nC: A1 STARTTLS\n";
    check(
        &tls,
        &[
            (
                &format!(
                    "{to_starttls}S: A1 OK go\nTLS\nC: A2 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: A2 OK\nC: A3 LOGOUT"
                ),
                "up: OK after STARTTLS and CAPABILITY",
            ),
            (
                &format!("{to_starttls}S: A1 OK go\nTLS\nC: A2 CAPABILITY\nS: A2 OK"),
                "malformed: answer to CAPABILITY is not of the protocol: OK",
            ),
            (
                "S: * OK hi\nC: A1 CAPABILITY\nS: * CAPABILITY STARTTLS\nS: A1 OK\nC: A2 STARTTLS\nS: A2 OK go\nTLS
                C: A3 CAPABILITY\nS: A3 OK",
                "malformed: answer to CAPABILITY is not of the protocol: OK",
            ),
            (&format!("{to_starttls}S: A1 OK go\nTLS\nC: A2 CAPABILITY\nTIMEOUT"), "hung: no answer to CAPABILITY"),
            (&format!("{to_starttls}S: A1 NO key\nC: A2 LOGOUT"), "tls: STARTTLS answered NO key"),
            (&format!("{to_starttls}S: A1 BAD what?\nC: A2 LOGOUT"), "tls: STARTTLS answered BAD what?"),
            ("S: * OK [CAPABILITY IMAP4rev1] hi\nC: A1 LOGOUT", "tls: STARTTLS not offered"),
            ("S: * PREAUTH hi\nC: A1 LOGOUT", "tls: STARTTLS is not possible: the greeting is PREAUTH"),
        ],
    );
}

#[test]
fn a_login_opens_the_mailbox() {
    let to_login = "S: * OK [CAPABILITY IMAP4rev1] hi\nC: A1 LOGIN \"probe\" \"hunter2\"\n";
    let to_examine = format!("{to_login}S: A1 OK in\nC: A2 EXAMINE \"INBOX\"\n");
    check(
        &with_login,
        &[
            (
                &format!(
                    "{to_examine}S: * FLAGS (\\Seen)\nS: * 12 EXISTS\nS: * OK [UIDNEXT 3] x\nS: A2 OK in\nC: A3 LOGOUT"
                ),
                "up: INBOX opened, 12 messages",
            ),
            (&format!("{to_examine}S: * 1 exists\nS: A2 ok in\nC: A3 LOGOUT"), "up: INBOX opened, 1 message"),
            (&format!("{to_examine}S: A2 OK in\nC: A3 LOGOUT"), "up: INBOX opened"),
            (&format!("{to_examine}S: A2 NO gone\nC: A3 LOGOUT"), "mailbox: EXAMINE INBOX answered NO gone"),
            (&format!("{to_examine}S: A2 BAD what?\nC: A3 LOGOUT"), "mailbox: EXAMINE INBOX answered BAD what?"),
            (
                &format!("{to_examine}S: A2 NO [UNAVAILABLE] NFS\nC: A3 LOGOUT"),
                "busy: EXAMINE INBOX answered NO [UNAVAILABLE] NFS",
            ),
            (
                &format!("{to_examine}S: * BYE [ALERT] Fatal error: I/O"),
                "mailbox: EXAMINE INBOX answered BYE [ALERT] Fatal error: I/O",
            ),
            (&format!("{to_examine}TIMEOUT"), "hung: no answer to EXAMINE INBOX: does the mail store hang?"),
            (
                &format!("{to_examine}S: * OK Hang in there..\nTIMEOUT"),
                "hung: no complete answer to EXAMINE INBOX: does the mail store hang?",
            ),
            (&format!("{to_login}TIMEOUT"), "hung: no answer to LOGIN"),
            (
                &format!("{to_login}S: A1 NO [AUTHENTICATIONFAILED] bad\nC: A2 LOGOUT"),
                "login: LOGIN answered NO [AUTHENTICATIONFAILED] bad",
            ),
            (&format!("{to_login}S: A1 NO Login failed.\nC: A2 LOGOUT"), "login: LOGIN answered NO Login failed."),
            (&format!("{to_login}S: A1 BAD \"hunter2\"\nC: A2 LOGOUT"), "login: LOGIN answered BAD \"***\""),
            (
                &format!("{to_login}S: A1 NO [UNAVAILABLE] LDAP\nC: A2 LOGOUT"),
                "busy: LOGIN answered NO [UNAVAILABLE] LDAP",
            ),
            (&format!("{to_login}S: A1 NO [INUSE] locked\nC: A2 LOGOUT"), "busy: LOGIN answered NO [INUSE] locked"),
            (&format!("{to_login}S: * BYE shutting down"), "busy: LOGIN answered BYE shutting down"),
            (
                &format!("{to_login}S: * BYE [ALERT] Fatal error: No such file or directory"),
                "mailbox: LOGIN answered BYE [ALERT] Fatal error: No such file or directory",
            ),
            (&format!("{to_login}S: + go on"), "malformed: answer to LOGIN is not of the protocol: + go on"),
        ],
    );
}

#[test]
fn a_login_that_is_disabled_is_not_tried() {
    check(
        &with_login,
        &[
            (
                "S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hi\nC: A1 LOGOUT",
                "login: login is disabled without TLS",
            ),
            ("S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\nC: A1 LOGOUT", "login: login is disabled"),
        ],
    );
}

#[test]
fn who_is_logged_in_already_goes_on_to_the_mailbox() {
    let script = "S: * PREAUTH [CAPABILITY IMAP4rev1] hi\nC: A1 EXAMINE \"INBOX\"\nS: A1 OK\nC: A2 LOGOUT";
    assert_eq!(verdict(&with_login, script), "up: INBOX opened");
}

/// User and password as they are sent, with the dialogue up to the answer.
fn login_dialogue(user: &str, password: &str, sent: &str) {
    let options = MailboxProbe { login: login(), ..Default::default() };
    let account = Account { user: user.into(), password: password.into() };
    let new = || -> Box<dyn Conversation> { Box::new(Imap::new(&options, Some(account.clone()))) };
    let script = format!(
        "S: * OK [CAPABILITY IMAP4rev1] hi\n{sent}\nS: A1 OK in\nC: A2 EXAMINE \"INBOX\"\nS: A2 OK\nC: A3 LOGOUT"
    );
    assert_eq!(verdict(&new, &script), "up: INBOX opened");
}

#[test]
fn odd_passwords_are_quoted_or_sent_as_literals_when_the_server_asks() {
    login_dialogue("probe", "a\"b\\c d", "C: A1 LOGIN \"probe\" \"a\\\"b\\\\c d\"");
    login_dialogue("probe", "", "C: A1 LOGIN \"probe\" \"\"");
    login_dialogue("probe", "süß", "C: A1 LOGIN \"probe\" {5}\nS: + go on\nC: süß");
    login_dialogue("jürgen", "secret", "C: A1 LOGIN {7}\nS: +\nC: jürgen \"secret\"");
    login_dialogue("jürgen", "süß", "C: A1 LOGIN {7}\nS: + ok\nC: jürgen {5}\nS: + ok\nC: süß");
    let long = "x".repeat(QUOTED_MAX + 1);
    login_dialogue("probe", &long, &format!("C: A1 LOGIN \"probe\" {{513}}\nS: + ok\nC: {long}"));
}

#[test]
fn a_literal_that_is_refused_is_not_sent_and_no_farewell_either() {
    let options = MailboxProbe { login: login(), ..Default::default() };
    let account = Account { user: "jürgen".into(), password: "secret".into() };
    let new = || -> Box<dyn Conversation> { Box::new(Imap::new(&options, Some(account.clone()))) };
    let greeting = "S: * OK [CAPABILITY IMAP4rev1] hi\nC: A1 LOGIN {7}\n";
    check(
        &new,
        &[
            (&format!("{greeting}S: A1 NO too long"), "login: LOGIN answered NO too long"),
            (&format!("{greeting}S: A1 OK in"), "malformed: answer to LOGIN is not of the protocol: OK in"),
        ],
    );
}

#[test]
fn literals_in_data_are_skipped_whatever_is_in_them() {
    let to_examine = "S: * OK [CAPABILITY IMAP4rev1] hi\nC: A1 LOGIN \"probe\" \"hunter2\"\nS: A1 OK in
        C: A2 EXAMINE \"INBOX\"\n";
    check(
        &with_login,
        &[
            // 13 bytes: a line that would end the conversation, were it one.
            (&format!("{to_examine}S: * X {{13}}\nS: A2 NO gone!\nS:  y\nS: A2 OK\nC: A3 LOGOUT"), "up: INBOX opened"),
            (
                &format!("{to_examine}S: * X {{3+}}\ns: abc\nS:  ~{{2}}\ns: de\nS: )\nS: A2 OK\nC: A3 LOGOUT"),
                "up: INBOX opened",
            ),
            (&format!("{to_examine}S: * X {{3}}\nS: abc* BYE\nS: A2 OK\nC: A3 LOGOUT"), "up: INBOX opened"),
            // The text of a status has none.
            (&format!("{to_examine}S: * OK {{9}}\nS: A2 OK\nC: A3 LOGOUT"), "up: INBOX opened"),
            (&format!("{to_examine}S: * X {{}}\nS: A2 OK\nC: A3 LOGOUT"), "up: INBOX opened"),
        ],
    );
    for count in ["999999", "99999999999999999999999999"] {
        let script = format!("{to_examine}S: * X {{{count}}}");
        assert_eq!(verdict(&with_login, &script), "overlong: over 131072 bytes up to the answer to EXAMINE INBOX");
    }
}

#[test]
fn untagged_data_may_come_unasked() {
    assert_eq!(
        whole(&plain, "S: * OK hi\nS: * OK still hi\nC: A1 CAPABILITY\nS: * CAPABILITY X\nS: A1 OK\nC: A2 LOGOUT"),
        "up: OK after CAPABILITY"
    );
    let literal = "S: * OK hi\nS: * X {3}\nS: abc rest\nC: A1 CAPABILITY\nS: * CAPABILITY X\nS: A1 OK\nC: A2 LOGOUT";
    assert_eq!(whole(&plain, literal), "up: OK after CAPABILITY");
    // Unasked is only what was there before; what completes its piece and the answer may come together.
    let mut imap = plain();
    let mut out = Vec::new();
    assert_eq!(imap.received(b"* OK hi\r\n* OK sti", &mut out), Next::Read);
    let next = imap.received(b"ll hi\r\n* CAPABILITY X\r\nA1 OK\r\n", &mut out);
    assert_eq!(next, Next::Done(Verdict::Success("OK after CAPABILITY".into())));
}

#[test]
fn mailbox_names_are_sent_in_modified_utf_7() {
    // The last is the example of RFC 3501, 5.1.3.
    for (name, sent) in [
        ("INBOX", "INBOX"),
        ("R&D", "R&-D"),
        ("Büro", "B&APw-ro"),
        ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
    ] {
        assert_eq!(mailbox_name(name), sent);
    }
}

#[test]
fn another_mailbox_is_named_in_the_words() {
    let options = MailboxProbe { login: login(), mailbox: Some("Büro \"1\"".into()), ..Default::default() };
    let new = || with(&options);
    let script =
        "S: * PREAUTH [CAPABILITY X] hi\nC: A1 EXAMINE \"B&APw-ro \\\"1\\\"\"\nS: * 0 EXISTS\nS: A1 OK\nC: A2 LOGOUT";
    assert_eq!(verdict(&new, script), "up: Büro \"1\" opened, 0 messages");
}
