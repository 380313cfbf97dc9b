use super::*;
use crate::health::probe::Conversation;
use crate::health::probe::dialogue::tests::{account, check, login, starttls, verdict, whole};

fn with(options: &SmtpProbe) -> Box<dyn Conversation> {
    Box::new(Smtp::new(options, options.login.is_some().then(account)))
}

fn plain() -> Box<dyn Conversation> {
    with(&SmtpProbe::default())
}

fn tls() -> Box<dyn Conversation> {
    with(&SmtpProbe { security: starttls(), ..Default::default() })
}

fn with_login() -> Box<dyn Conversation> {
    with(&SmtpProbe { login: login(), ..Default::default() })
}

fn with_recipient() -> Box<dyn Conversation> {
    let (sender, recipient) = (Some(String::new()), Some("postmaster@example.net".into()));
    with(&SmtpProbe { helo: Some("lb1.example.net".into()), sender, recipient, ..Default::default() })
}

#[test]
fn banner_and_ehlo_are_enough() {
    check(
        &plain,
        &[
            (
                "S: 220 mx1 ESMTP\nC: EHLO lbd-probe.invalid\nS: 250-mx1\nS: 250 PIPELINING\nC: QUIT",
                "up: 250 after EHLO",
            ),
            (
                "S: 220-mx1\nS: 220-no spam\nS: 220 please\nC: EHLO lbd-probe.invalid\nS: 250 mx1\nC: QUIT",
                "up: 250 after EHLO",
            ),
            (
                "S: 220 mx1\nC: EHLO lbd-probe.invalid\nS: 502 what?\nC: HELO lbd-probe.invalid\nS: 250 mx1\nC: QUIT",
                "up: 250 after HELO",
            ),
            (
                "S: 220 mx1\nC: EHLO lbd-probe.invalid\nS: 500 what?\nC: HELO lbd-probe.invalid\nS: 250 mx1\nC: QUIT",
                "up: 250 after HELO",
            ),
        ],
    );
}

#[test]
fn a_greeting_that_refuses_is_told_as_it_came() {
    check(
        &plain,
        &[
            ("S: 421 too busy", "busy: banner 421 too busy"),
            ("S: 421-too busy\nS: 421 try later", "busy: banner 421 too busy"),
            ("S: 450 load too high\nC: QUIT", "busy: banner 450 load too high"),
            ("S: 554 no SMTP here\nC: QUIT", "rejected: banner 554 no SMTP here"),
            ("S: 250 hello", "malformed: banner 250 hello"),
            ("S: 220-mx1\nS: hello", "malformed: greeting is not of the protocol: hello"),
            ("CLOSED", "closed: closed before a greeting: a limit of connections, or an access list?"),
        ],
    );
}

#[test]
fn a_refusal_after_the_banner_names_the_command() {
    let to_ehlo = "S: 220 mx1\nC: EHLO lbd-probe.invalid\n";
    check(
        &plain,
        &[
            (&format!("{to_ehlo}S: 421 shutting down"), "busy: EHLO answered 421 shutting down"),
            (&format!("{to_ehlo}S: 451 DNS is slow\nC: QUIT"), "busy: EHLO answered 451 DNS is slow"),
            (&format!("{to_ehlo}S: 550 bad name\nC: QUIT"), "rejected: EHLO answered 550 bad name"),
            (&format!("{to_ehlo}S: 354 go on"), "malformed: EHLO answered 354 go on"),
            (&format!("{to_ehlo}S: 250-mx1\nS: 251 no"), "malformed: answer to EHLO is not of the protocol: 251 no"),
            (&format!("{to_ehlo}TIMEOUT"), "hung: no answer to EHLO"),
            (&format!("{to_ehlo}S: 250-mx1\nTIMEOUT"), "hung: no complete answer to EHLO"),
        ],
    );
}

#[test]
fn starttls_is_followed_by_ehlo_again() {
    let to_ehlo = "S: 220 mx1\nC: EHLO lbd-probe.invalid\n";
    let to_starttls = format!("{to_ehlo}S: 250-mx1\nS: 250 StartTLS\nC: STARTTLS\n");
    check(
        &tls,
        &[
            (
                &format!("{to_starttls}S: 220 go\nTLS\nC: EHLO lbd-probe.invalid\nS: 250 mx1\nC: QUIT"),
                "up: 250 after STARTTLS and EHLO",
            ),
            (&format!("{to_starttls}S: 454 no key\nC: QUIT"), "tls: STARTTLS answered 454 no key"),
            (&format!("{to_starttls}S: 501 no\nC: QUIT"), "tls: STARTTLS answered 501 no"),
            (&format!("{to_ehlo}S: 250-mx1\nS: 250 SIZE\nC: QUIT"), "tls: STARTTLS not offered"),
            // The server's name is no offer.
            (&format!("{to_ehlo}S: 250-STARTTLS\nS: 250 SIZE\nC: QUIT"), "tls: STARTTLS not offered"),
            (
                &format!("{to_ehlo}S: 502 no\nC: HELO lbd-probe.invalid\nS: 250 mx1\nC: QUIT"),
                "tls: STARTTLS not offered",
            ),
        ],
    );
}

#[test]
fn what_was_offered_in_clear_text_counts_for_nothing_after_starttls() {
    let both = || with(&SmtpProbe { security: starttls(), login: login(), ..Default::default() });
    let script = "S: 220 mx1\nC: EHLO lbd-probe.invalid\nS: 250-mx1\nS: 250-AUTH PLAIN\nS: 250 STARTTLS\nC: STARTTLS
        S: 220 go\nTLS\nC: EHLO lbd-probe.invalid\nS: 250-mx1\nS: 250 SIZE\nC: QUIT";
    assert_eq!(verdict(&both, script), "login: AUTH not offered");
}

#[test]
fn a_login_takes_plain_and_login_where_there_is_no_plain() {
    let to_ehlo = "S: 220 mx1\nC: EHLO lbd-probe.invalid\nS: 250-mx1\n";
    let plain = format!("{to_ehlo}S: 250 AUTH LOGIN PLAIN\nC: AUTH PLAIN AHByb2JlAGh1bnRlcjI=\n");
    let to_login = format!("{to_ehlo}S: 250 AUTH=LOGIN\nC: AUTH LOGIN\n");
    let to_password = format!("{to_login}S: 334 VXNlcm5hbWU6\nC: cHJvYmU=\n");
    let login = format!("{to_password}S: 334 UGFzc3dvcmQ6\nC: aHVudGVyMg==\n");
    check(
        &with_login,
        &[
            (&format!("{plain}S: 235 in\nC: QUIT"), "up: 235 after AUTH"),
            (&format!("{plain}S: 535 5.7.8 bad\nC: QUIT"), "login: AUTH answered 535 5.7.8 bad"),
            (&format!("{plain}S: 454 4.7.0 backend\nC: QUIT"), "busy: AUTH answered 454 4.7.0 backend"),
            (&format!("{plain}S: 334 go on"), "malformed: AUTH answered 334 go on"),
            (&format!("{plain}TIMEOUT"), "hung: no answer to AUTH"),
            (&format!("{plain}S: 501 AHByb2JlAGh1bnRlcjI=?\nC: QUIT"), "login: AUTH answered 501 ***?"),
            (&format!("{login}S: 235 in\nC: QUIT"), "up: 235 after AUTH"),
            (&format!("{login}S: 535 bad\nC: QUIT"), "login: AUTH answered 535 bad"),
            (&format!("{to_login}S: 504 no\nC: QUIT"), "login: AUTH answered 504 no"),
            (&format!("{to_password}S: 235 in"), "malformed: AUTH answered 235 in"),
            (&format!("{to_ehlo}S: 250 AUTH CRAM-MD5\nC: QUIT"), "login: AUTH offers neither PLAIN nor LOGIN"),
            (&format!("{to_ehlo}S: 250 STARTTLS\nC: QUIT"), "login: AUTH not offered before STARTTLS"),
            (&format!("{to_ehlo}S: 250 SIZE\nC: QUIT"), "login: AUTH not offered"),
        ],
    );
}

#[test]
fn a_recipient_is_tried_and_never_data() {
    let to_mail = "S: 220 mx1\nC: EHLO lb1.example.net\nS: 250 mx1\nC: MAIL FROM:<>\n";
    let to_rcpt = format!("{to_mail}S: 250 ok\nC: RCPT TO:<postmaster@example.net>\n");
    check(
        &with_recipient,
        &[
            (&format!("{to_rcpt}S: 250 ok\nC: QUIT"), "up: 250 after RCPT"),
            (&format!("{to_rcpt}S: 251 forwarded\nC: QUIT"), "up: 251 after RCPT"),
            (&format!("{to_rcpt}S: 450 mailbox busy\nC: QUIT"), "busy: RCPT answered 450 mailbox busy"),
            (
                &format!("{to_rcpt}S: 451 Greylisted, come back\nC: QUIT"),
                "busy: RCPT answered 451 Greylisted, come back (exempt the probe from greylisting)",
            ),
            (&format!("{to_rcpt}S: 550 no such user\nC: QUIT"), "rejected: RCPT answered 550 no such user"),
            (&format!("{to_rcpt}S: 550 greylist full\nC: QUIT"), "rejected: RCPT answered 550 greylist full"),
            (&format!("{to_rcpt}TIMEOUT"), "hung: no answer to RCPT"),
            (&format!("{to_mail}S: 452 disk full\nC: QUIT"), "busy: MAIL answered 452 disk full"),
            (&format!("{to_mail}S: 530 TLS first\nC: QUIT"), "rejected: MAIL answered 530 TLS first"),
        ],
    );
}

#[test]
fn a_sender_alone_is_tried_too() {
    let sender = || with(&SmtpProbe { sender: Some("probe@example.net".into()), ..Default::default() });
    let script =
        "S: 220 mx1\nC: EHLO lbd-probe.invalid\nS: 250 mx1\nC: MAIL FROM:<probe@example.net>\nS: 250 ok\nC: QUIT";
    assert_eq!(verdict(&sender, script), "up: 250 after MAIL");
}

#[test]
fn a_server_that_shuts_down_right_after_its_banner_says_so() {
    assert_eq!(
        whole(&plain, "S: 220 mx1\nS: 421-closing\nS: 421 now\nC: EHLO lbd-probe.invalid"),
        "busy: EHLO answered 421 closing"
    );
}
