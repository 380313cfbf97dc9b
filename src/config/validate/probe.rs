//! Rules of the options of a probe.

use super::{Findings, check_number};
use crate::config::diagnostic::{Complaint, KeyPath};
use crate::config::limits;
use crate::config::probe::{HttpProbe, Probe, Security, SmtpProbe, TlsOptions};

pub(super) fn check(probe: &Probe, at: &KeyPath, findings: &mut Findings) {
    match probe {
        Probe::Tls(options) => tls(options, at, findings),
        Probe::Smtp(p) => {
            security(&p.security, at, findings);
            smtp(p, at, findings);
        }
        Probe::Pop3(p) => {
            security(&p.security, at, findings);
            if p.mailbox.is_some() {
                let complaint = Complaint::new("POP3 has one mailbox").help("remove `mailbox`");
                findings.error(at.key("mailbox"), complaint);
            }
        }
        Probe::Imap(p) => {
            security(&p.security, at, findings);
            if p.mailbox.is_some() && p.login.is_none() {
                needs(at, "mailbox", "a login: add `user` and `password-file`", findings);
            }
        }
        Probe::Http(p) => {
            security(&p.security, at, findings);
            http(p, at, findings);
        }
        Probe::Ftp(p) => security(&p.security, at, findings),
        Probe::Ldap(p) => security(&p.security, at, findings),
        Probe::Dns(p) => {
            // RFC 1035, 2.3.4: 255 bytes on the wire are 253 characters.
            if p.query.is_empty() || p.query.len() > 253 || p.query.contains(char::is_whitespace) {
                let complaint = Complaint::new("this is no domain name").help("such as example.net, or . for the root");
                findings.error(at.key("query"), complaint);
            }
        }
        Probe::Script(p) => command(&p.command, &at.key("command"), findings),
        Probe::Radius(_) | Probe::Mysql(_) | Probe::Tcp | Probe::Icmp | Probe::Arp => {}
    }
}

fn needs(at: &KeyPath, key: &str, what: &str, findings: &mut Findings) {
    findings
        .error(at.key(key), Complaint::lack(format!("`{key}` means nothing alone")).help(format!("it needs {what}")));
}

fn security(security: &Security, at: &KeyPath, findings: &mut Findings) {
    match security {
        Security::Plain => {}
        Security::Tls(options) | Security::StartTls(options) => tls(options, at, findings),
    }
}

fn tls(options: &TlsOptions, at: &KeyPath, findings: &mut Findings) {
    if let Some(days) = options.min_days
        && let Err(complaint) = check_number(days.into(), limits::MIN_DAYS)
    {
        findings.error(at.key("min-days"), complaint);
    }
    let name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if options.name.as_deref().is_some_and(|text| !name(text)) {
        let complaint = Complaint::new("this is no host name").help("such as mx.example.net");
        findings.error(at.key("tls-name"), complaint);
    }
}

fn smtp(probe: &SmtpProbe, at: &KeyPath, findings: &mut Findings) {
    if probe.recipient.is_some() && probe.sender.is_none() {
        needs(at, "recipient", "a `sender`; the null sender is `sender: \"\"`", findings);
    }
    let addresses = [("sender", probe.sender.as_deref()), ("recipient", probe.recipient.as_deref())];
    for (key, address) in addresses {
        if address.is_some_and(|text| text.contains(['<', '>', ' '])) {
            let complaint = Complaint::new("an address is written without < > and blanks").help("probe@example.net");
            findings.error(at.key(key), complaint);
        }
    }
    if probe.helo.as_deref().is_some_and(|name| name.is_empty() || name.contains(' ')) {
        findings.error(at.key("helo"), Complaint::new("this is no host name").help("such as lb1.example.net"));
    }
}

fn http(probe: &HttpProbe, at: &KeyPath, findings: &mut Findings) {
    // RFC 9110, 5.6.2 has more characters, which no method uses.
    if probe.method.is_empty() || !probe.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        findings.error(at.key("method"), Complaint::new("this is no method").help("such as GET or HEAD"));
    }
    if !probe.path.starts_with('/') || probe.path.contains(' ') || !probe.path.is_ascii() {
        let complaint = Complaint::new("a path begins with / and has no blanks").help("such as /healthz");
        findings.error(at.key("path"), complaint);
    }
    if probe.host.as_deref().is_some_and(|host| host.is_empty() || host.contains(' ') || !host.is_ascii()) {
        findings.error(at.key("host"), Complaint::new("this is no host").help("such as www.example.net"));
    }
    if probe.status.is_empty() {
        let complaint = Complaint::new("no status would be accepted").help("such as status: [200-399]");
        findings.error(at.key("status"), complaint);
    }
    for (index, (first, last)) in probe.status.iter().enumerate() {
        if first > last || !(100..=599).contains(first) || !(100..=599).contains(last) {
            let complaint = Complaint::new("status codes go from 100 to 599").help("such as 200, or 200-399");
            findings.error(at.key("status").key(index), complaint);
        }
    }
    if let Some(body) = &probe.body
        && let Err(error) = regex::bytes::Regex::new(body)
    {
        let text = error.to_string();
        let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let complaint = Complaint::new(format!("this is no regular expression: {why}"))
            .help("the characters \\ . + * ? ( ) | [ ] { } ^ $ have a meaning: put a \\ before one that has none");
        findings.error(at.key("body"), complaint);
    }
}

fn command(command: &[String], at: &KeyPath, findings: &mut Findings) {
    match command.first() {
        Some(program) if program.starts_with('/') => {}
        _ => {
            let complaint = Complaint::new("the command must begin with an absolute path")
                .help("such as [/usr/lib/nagios/plugins/check_tcp, \"-H\", \"{address}\", \"-p\", \"{port}\"]");
            findings.error(at.clone(), complaint);
        }
    }
    if command.len() > limits::COMMAND_WORDS_MAX {
        let complaint = Complaint::new(format!("{} words are too many", command.len()))
            .help(format!("at most {} can stand here; write a script", limits::COMMAND_WORDS_MAX));
        findings.error(at.clone(), complaint);
    }
}
