use super::*;
use crate::health::probe::Conversation;
use crate::health::probe::dialogue::tests::{account, check, login, starttls};

fn with(options: &MailboxProbe) -> Box<dyn Conversation> {
    Box::new(Pop3::new(options, options.login.is_some().then(account)))
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
            ("S: +OK Hello\nC: CAPA\nS: +OK\nS: TOP\nS: USER\nS: .\nC: QUIT", "up: +OK after CAPA"),
            ("S: +OK\nC: CAPA\nS: -ERR what?\nC: QUIT", "up: +OK after greeting, without CAPA"),
        ],
    );
}

#[test]
fn a_greeting_that_refuses_is_told_as_it_came() {
    check(
        &plain,
        &[
            ("S: -ERR [SYS/TEMP] overloaded", "busy: greeting -ERR [SYS/TEMP] overloaded"),
            ("S: -ERR [in-use] locked", "busy: greeting -ERR [in-use] locked"),
            ("S: -ERR Temporary failure", "busy: greeting -ERR Temporary failure"),
            ("S: -ERR [SYS/PERM] broken, temporarily", "rejected: greeting -ERR [SYS/PERM] broken, temporarily"),
            ("S: -ERR go away", "rejected: greeting -ERR go away"),
            ("S: +OKAY", "malformed: greeting is not of the protocol: +OKAY"),
        ],
    );
}

#[test]
fn closed_without_a_word_names_couriers_limits() {
    check(
        &plain,
        &[(
            "CLOSED",
            "closed: closed before a greeting: a limit of connections per address (Courier: MAXPERIP, MAXDAEMONS)?",
        )],
    );
}

#[test]
fn stls_is_followed_by_capa_again() {
    let to_stls = "S: +OK\nC: CAPA\nS: +OK\nS: USER\nS: STLS\nS: .\nC: STLS\n";
    check(
        &tls,
        &[
            (&format!("{to_stls}S: +OK go\nTLS\nC: CAPA\nS: +OK\nS: .\nC: QUIT"), "up: +OK after STLS and CAPA"),
            (&format!("{to_stls}S: -ERR no key\nC: QUIT"), "tls: STLS answered -ERR no key"),
            (&format!("{to_stls}S: -ERR temporary\nC: QUIT"), "tls: STLS answered -ERR temporary"),
            (&format!("{to_stls}TIMEOUT"), "hung: no answer to STLS"),
            ("S: +OK\nC: CAPA\nS: +OK\nS: USER\nS: .\nC: QUIT", "tls: STLS not offered"),
            ("S: +OK\nC: CAPA\nS: -ERR\nC: QUIT", "tls: STLS not offered"),
            ("S: +OK\nC: CAPA\nS: +OK\nS: STLS-NOT\nS: SASL STLS\nS: .\nC: QUIT", "tls: STLS not offered"),
            (&format!("{to_stls}S: +OK go\nTLS\nC: CAPA\nTIMEOUT"), "hung: no answer to CAPA"),
        ],
    );
}

#[test]
fn a_login_opens_the_mailbox() {
    let to_user = "S: +OK\nC: CAPA\nS: +OK\nS: .\nC: USER probe\n";
    let to_pass = format!("{to_user}S: +OK\nC: PASS hunter2\n");
    let to_stat = format!("{to_pass}S: +OK in\nC: STAT\n");
    check(
        &with_login,
        &[
            (&format!("{to_stat}S: +OK 12 3400\nC: QUIT"), "up: mailbox opened, 12 messages"),
            (&format!("{to_stat}S: +OK 1 3400\nC: QUIT"), "up: mailbox opened, 1 message"),
            (&format!("{to_stat}S: +OK"), "malformed: answer to STAT is not of the protocol: +OK"),
            (&format!("{to_stat}S: -ERR no store\nC: QUIT"), "mailbox: STAT answered -ERR no store"),
            (&format!("{to_stat}S: -ERR [SYS/TEMP] NFS\nC: QUIT"), "busy: STAT answered -ERR [SYS/TEMP] NFS"),
            (&format!("{to_stat}TIMEOUT"), "hung: no answer to STAT: does the mail store hang?"),
            (&format!("{to_stat}CLOSED"), "closed: closed instead of an answer to STAT"),
            (&format!("{to_pass}TIMEOUT"), "hung: no answer to PASS"),
            (&format!("{to_pass}s: +OK\nTIMEOUT"), "hung: no complete answer to PASS"),
            (&format!("{to_pass}S: -ERR [AUTH] bad\nC: QUIT"), "login: PASS answered -ERR [AUTH] bad"),
            (&format!("{to_pass}S: -ERR Login failed.\nC: QUIT"), "login: PASS answered -ERR Login failed."),
            (&format!("{to_pass}S: -ERR PASS hunter2?\nC: QUIT"), "login: PASS answered -ERR PASS ***?"),
            (&format!("{to_pass}S: -ERR [IN-USE] locked\nC: QUIT"), "busy: PASS answered -ERR [IN-USE] locked"),
            (&format!("{to_pass}S: -ERR [LOGIN-DELAY] no\nC: QUIT"), "busy: PASS answered -ERR [LOGIN-DELAY] no"),
            (&format!("{to_pass}S: -ERR Temporary problem\nC: QUIT"), "busy: PASS answered -ERR Temporary problem"),
            (
                &format!("{to_pass}S: -ERR [SYS/PERM] corrupt\nC: QUIT"),
                "mailbox: PASS answered -ERR [SYS/PERM] corrupt",
            ),
            (
                &format!("{to_pass}S: -ERR chdir /var/mail/probe failed\nC: QUIT"),
                "mailbox: PASS answered -ERR chdir /var/mail/probe failed",
            ),
            (
                &format!("{to_pass}S: -ERR Maildir: No such file or directory\nC: QUIT"),
                "mailbox: PASS answered -ERR Maildir: No such file or directory",
            ),
            (&format!("{to_user}S: -ERR TLS first\nC: QUIT"), "login: USER answered -ERR TLS first"),
            (&format!("{to_user}S: what?"), "malformed: answer to USER is not of the protocol: what?"),
        ],
    );
}
