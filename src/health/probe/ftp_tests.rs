use super::*;
use crate::health::probe::Conversation;
use crate::health::probe::dialogue::tests::{account, check, login, starttls, whole};

fn with(options: &FtpProbe) -> Box<dyn Conversation> {
    Box::new(Ftp::new(options, options.login.is_some().then(account)))
}

fn plain() -> Box<dyn Conversation> {
    with(&FtpProbe::default())
}

fn tls() -> Box<dyn Conversation> {
    with(&FtpProbe { security: starttls(), ..Default::default() })
}

fn with_login() -> Box<dyn Conversation> {
    with(&FtpProbe { login: login(), ..Default::default() })
}

fn with_both() -> Box<dyn Conversation> {
    with(&FtpProbe { security: starttls(), login: login() })
}

#[test]
fn the_greeting_is_enough_also_with_free_text_in_it() {
    check(
        &plain,
        &[
            ("S: 220 ready\nC: QUIT", "up: 220 in the greeting"),
            ("S: 220-welcome\nS:   to our files\nS: 230 of them\nS: 220 ready\nC: QUIT", "up: 220 in the greeting"),
        ],
    );
}

#[test]
fn a_greeting_that_refuses_is_told_as_it_came() {
    check(
        &plain,
        &[
            ("S: 120 ready in 5 minutes\nC: QUIT", "busy: greeting 120 ready in 5 minutes"),
            ("S: 421 too many users", "busy: greeting 421 too many users"),
            ("S: 450 later\nC: QUIT", "busy: greeting 450 later"),
            ("S: 530 no access\nC: QUIT", "rejected: greeting 530 no access"),
            ("S: 230 in", "malformed: greeting 230 in"),
            ("CLOSED", "closed: closed before a greeting: a limit of connections, or an access list?"),
            ("S: 220-welcome\nTIMEOUT", "hung: greeting not complete"),
        ],
    );
}

#[test]
fn auth_tls_is_enough_when_it_is_asked_for() {
    let to_auth = "S: 220 ready\nC: AUTH TLS\n";
    check(
        &tls,
        &[
            (&format!("{to_auth}S: 234 go\nTLS\nC: QUIT"), "up: 234 after AUTH TLS"),
            (&format!("{to_auth}S: 502 what?\nC: QUIT"), "tls: AUTH TLS answered 502 what?"),
            (&format!("{to_auth}S: 431 no key\nC: QUIT"), "tls: AUTH TLS answered 431 no key"),
            (&format!("{to_auth}S: 421 closing"), "busy: AUTH TLS answered 421 closing"),
        ],
    );
}

#[test]
fn a_server_that_shuts_down_right_after_its_greeting_says_so() {
    let script = "S: 220 ready\nS: 421-closing\nS: come back\nS: 421 later\nC: AUTH TLS";
    assert_eq!(whole(&tls, script), "busy: AUTH TLS answered 421 closing");
}

#[test]
fn a_login_is_user_and_pass_as_far_as_asked_for() {
    let to_user = "S: 220 ready\nC: USER probe\n";
    let to_pass = format!("{to_user}S: 331 password\nC: PASS hunter2\n");
    check(
        &with_login,
        &[
            (&format!("{to_pass}S: 230-welcome\nS: back\nS: 230 in\nC: QUIT"), "up: 230 after PASS"),
            (&format!("{to_pass}S: 202 superfluous\nC: QUIT"), "up: 202 after PASS"),
            (&format!("{to_user}S: 230 in\nC: QUIT"), "up: 230 after USER"),
            (&format!("{to_user}S: 332 account\nC: QUIT"), "login: USER answered 332 account"),
            (&format!("{to_pass}S: 332 account\nC: QUIT"), "login: PASS answered 332 account"),
            (&format!("{to_pass}S: 530 incorrect\nC: QUIT"), "login: PASS answered 530 incorrect"),
            (&format!("{to_pass}S: 530 hunter2 is wrong\nC: QUIT"), "login: PASS answered 530 *** is wrong"),
            (&format!("{to_pass}S: 450 later\nC: QUIT"), "busy: PASS answered 450 later"),
            (&format!("{to_pass}S: 421 closing"), "busy: PASS answered 421 closing"),
            (&format!("{to_pass}TIMEOUT"), "hung: no answer to PASS"),
            (&format!("{to_pass}CLOSED"), "closed: closed instead of an answer to PASS"),
        ],
    );
}

#[test]
fn the_password_goes_through_tls_when_it_is_asked_for() {
    let script = "S: 220 ready\nC: AUTH TLS\nS: 234 go\nTLS\nC: USER probe\nS: 331 password\nC: PASS hunter2\nS: 230 in\nC: QUIT";
    check(&with_both, &[(script, "up: 230 after PASS")]);
}
