//! The probe of a check: which options belong to which type, reading and writing side by side.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_yaml::Location;

use super::choice::{CheckWord, Choice, TlsWord, TransportWord};
use super::convert::Reading;
use super::leaf::{Given, Leaf};
use super::notation::Notation;
use super::raw::RawCheck;
use super::write::{list, pair, quoted};
use crate::config::diagnostic::{Complaint, KeyPath};
use crate::config::{
    CheckKind, DnsProbe, FtpProbe, HttpProbe, LdapProbe, Login, MailboxProbe, MysqlProbe, Probe, RadiusProbe,
    ScriptProbe, Security, SmtpProbe, TlsOptions, profile,
};

/// The word for the type of a check.
pub fn word_of(kind: &CheckKind) -> CheckWord {
    match kind {
        CheckKind::Auto => CheckWord::Auto,
        CheckKind::None => CheckWord::None,
        CheckKind::Probe(probe) => match **probe {
            Probe::Tcp => CheckWord::Tcp,
            Probe::Tls(_) => CheckWord::Tls,
            Probe::Smtp(_) => CheckWord::Smtp,
            Probe::Pop3(_) => CheckWord::Pop3,
            Probe::Imap(_) => CheckWord::Imap,
            Probe::Http(_) => CheckWord::Http,
            Probe::Dns(_) => CheckWord::Dns,
            Probe::Radius(_) => CheckWord::Radius,
            Probe::Ftp(_) => CheckWord::Ftp,
            Probe::Ldap(_) => CheckWord::Ldap,
            Probe::Mysql(_) => CheckWord::Mysql,
            Probe::Icmp => CheckWord::Icmp,
            Probe::Arp => CheckWord::Arp,
            Probe::Script(_) => CheckWord::Script,
        },
    }
}

/// A check of this type before its options are read. RADIUS and scripts need an option that none is without.
pub fn of_word(word: CheckWord) -> CheckKind {
    let probe = match word {
        CheckWord::Auto => return CheckKind::Auto,
        CheckWord::None => return CheckKind::None,
        CheckWord::Tcp => Probe::Tcp,
        CheckWord::Tls => Probe::Tls(TlsOptions::default()),
        CheckWord::Smtp => Probe::Smtp(SmtpProbe::default()),
        CheckWord::Pop3 => Probe::Pop3(MailboxProbe::default()),
        CheckWord::Imap => Probe::Imap(MailboxProbe::default()),
        CheckWord::Http => Probe::Http(HttpProbe::default()),
        CheckWord::Dns => Probe::Dns(DnsProbe::default()),
        CheckWord::Radius => {
            Probe::Radius(RadiusProbe { secret_file: profile::RADIUS_SECRET_FILE.into(), login: None })
        }
        CheckWord::Ftp => Probe::Ftp(FtpProbe::default()),
        CheckWord::Ldap => Probe::Ldap(LdapProbe::default()),
        CheckWord::Mysql => Probe::Mysql(MysqlProbe::default()),
        CheckWord::Icmp => Probe::Icmp,
        CheckWord::Arp => Probe::Arp,
        CheckWord::Script => Probe::Script(ScriptProbe { command: Vec::new() }),
    };
    CheckKind::Probe(Arc::new(probe))
}

/// The options that a type has, TLS aside.
fn options(word: CheckWord) -> &'static [&'static str] {
    match word {
        CheckWord::Smtp => &["tls", "user", "password-file", "helo", "sender", "recipient"],
        CheckWord::Pop3 | CheckWord::Ftp | CheckWord::Ldap => &["tls", "user", "password-file"],
        CheckWord::Imap => &["tls", "user", "password-file", "mailbox"],
        CheckWord::Http => &["tls", "method", "host", "path", "status", "body"],
        CheckWord::Dns => &["query", "record", "rcode", "answer", "transport"],
        CheckWord::Radius => &["user", "password-file", "secret-file"],
        CheckWord::Mysql => &["user", "password-file"],
        CheckWord::Script => &["command"],
        _ => &[],
    }
}

const TLS_OPTIONS: [&str; 3] = ["tls-name", "tls-ca-file", "min-days"];

impl RawCheck {
    /// The options that are written, in the order in which they are shown.
    fn given(&self) -> Vec<(&'static str, Location)> {
        fn one<T>(leaf: &Given<Leaf<T>>) -> Option<Location> {
            leaf.0.as_ref().map(|leaf| leaf.text.defined)
        }
        fn first<T>(leaves: &Given<Vec<Leaf<T>>>) -> Option<Location> {
            Some(leaves.0.as_ref()?.first().map_or(Location::UNKNOWN, |leaf| leaf.text.defined))
        }
        let all = [
            ("tls", one(&self.tls)),
            ("tls-name", one(&self.tls_name)),
            ("tls-ca-file", one(&self.tls_ca_file)),
            ("min-days", one(&self.min_days)),
            ("user", one(&self.user)),
            ("password-file", one(&self.password_file)),
            ("secret-file", one(&self.secret_file)),
            ("helo", one(&self.helo)),
            ("sender", one(&self.sender)),
            ("recipient", one(&self.recipient)),
            ("mailbox", one(&self.mailbox)),
            ("method", one(&self.method)),
            ("host", one(&self.host)),
            ("path", one(&self.path)),
            ("status", first(&self.status)),
            ("body", one(&self.body)),
            ("query", one(&self.query)),
            ("record", one(&self.record)),
            ("rcode", one(&self.rcode)),
            ("answer", one(&self.answer)),
            ("transport", one(&self.transport)),
            ("command", first(&self.command)),
        ];
        all.into_iter().filter_map(|(key, given)| Some((key, given?))).collect()
    }
}

/// Reads the options of one check.
struct Options<'a> {
    reading: &'a mut Reading,
    at: &'a KeyPath,
    raw: &'a RawCheck,
}

impl Reading {
    /// What is asked, from the type and its options; `base` is what a pool with this profile asks.
    pub(super) fn check_kind(&mut self, at: &KeyPath, raw: &RawCheck, base: &CheckKind) -> CheckKind {
        let word = self.read(&at.key("type"), &raw.kind);
        if raw.kind.0.is_some() && word.is_none() {
            return CheckKind::Auto; // Refused already: its options cannot be judged.
        }
        let same = word.is_none_or(|word| word == word_of(base));
        let kind = if same { base.clone() } else { word.map_or_else(|| base.clone(), of_word) };
        let word = word_of(&kind);
        if word == CheckWord::Radius && !same {
            self.require(
                at,
                "a check of type `radius`",
                &[("secret-file", raw.secret_file.0.is_some(), "/etc/lbd/radius.secret")],
            );
        }
        if word == CheckWord::Script {
            self.require(
                at,
                "a check of type `script`",
                &[("command", raw.command.0.is_some(), "[/usr/lib/nagios/plugins/check_tcp, \"-H\", \"{address}\"]")],
            );
        }
        for (key, place) in raw.given() {
            let belongs = options(word).contains(&key) || TLS_OPTIONS.contains(&key) && may_have_tls(word);
            if !belongs {
                let message = format!("`{key}` means nothing to a check of type `{}`", word.word());
                self.places.insert(&at.key(key), place);
                self.refuse(at.key(key), Complaint::new(message).help(help(word, raw)));
            }
        }
        match kind {
            CheckKind::Probe(probe) => {
                let mut options = Options { reading: self, at, raw };
                CheckKind::Probe(Arc::new(options.probe((*probe).clone())))
            }
            other => other,
        }
    }
}

fn may_have_tls(word: CheckWord) -> bool {
    word == CheckWord::Tls || options(word).contains(&"tls")
}

fn help(word: CheckWord, raw: &RawCheck) -> String {
    if raw.kind.0.is_none() && matches!(word, CheckWord::Auto | CheckWord::None | CheckWord::Tcp) {
        return "give the check a `type` that has it, or the pool a `profile`".into();
    }
    let mut has: Vec<&str> = options(word).to_vec();
    if may_have_tls(word) {
        has.extend(TLS_OPTIONS);
    }
    if has.is_empty() {
        "it has no options of its own".into()
    } else {
        format!("it has {}", has.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "))
    }
}

impl Options<'_> {
    fn probe(&mut self, base: Probe) -> Probe {
        match base {
            Probe::Tls(tls) => Probe::Tls(self.tls_options(tls)),
            Probe::Smtp(p) => Probe::Smtp(SmtpProbe {
                security: self.security(p.security, true),
                login: self.login(p.login),
                helo: self.text("helo", |raw| &raw.helo).or(p.helo),
                sender: self.text("sender", |raw| &raw.sender).or(p.sender),
                recipient: self.text("recipient", |raw| &raw.recipient).or(p.recipient),
            }),
            Probe::Pop3(p) => Probe::Pop3(self.mailbox(p)),
            Probe::Imap(p) => Probe::Imap(self.mailbox(p)),
            Probe::Http(p) => {
                let raw = self.raw;
                let at = self.at.key("status");
                let status = self.reading.leaves(&at, &raw.status);
                Probe::Http(HttpProbe {
                    security: self.security(p.security, false),
                    method: self.text("method", |raw| &raw.method).unwrap_or(p.method),
                    host: self.text("host", |raw| &raw.host).or(p.host),
                    path: self.text("path", |raw| &raw.path).unwrap_or(p.path),
                    status: if raw.status.0.is_some() { status } else { p.status },
                    body: self.text("body", |raw| &raw.body).or(p.body),
                })
            }
            Probe::Dns(p) => {
                let transport = self.reading.read(&self.at.key("transport"), &self.raw.transport);
                Probe::Dns(DnsProbe {
                    query: self.text("query", |raw| &raw.query).unwrap_or(p.query),
                    record: self.text("record", |raw| &raw.record).unwrap_or(p.record),
                    rcode: self.text("rcode", |raw| &raw.rcode).or(p.rcode),
                    answer: self.text("answer", |raw| &raw.answer).or(p.answer),
                    tcp: transport.map_or(p.tcp, |word| word == TransportWord::Tcp),
                })
            }
            Probe::Radius(p) => {
                let secret_file = self.reading.read(&self.at.key("secret-file"), &self.raw.secret_file);
                Probe::Radius(RadiusProbe {
                    secret_file: secret_file.unwrap_or(p.secret_file),
                    login: self.login(p.login),
                })
            }
            Probe::Ftp(p) => {
                Probe::Ftp(FtpProbe { security: self.security(p.security, true), login: self.login(p.login) })
            }
            Probe::Ldap(p) => {
                Probe::Ldap(LdapProbe { security: self.security(p.security, false), login: self.login(p.login) })
            }
            Probe::Mysql(p) => Probe::Mysql(MysqlProbe { login: self.login(p.login) }),
            Probe::Script(p) => {
                let raw = self.raw;
                let at = self.at.key("command");
                let command = self.reading.leaves(&at, &raw.command);
                Probe::Script(ScriptProbe { command: if raw.command.0.is_some() { command } else { p.command } })
            }
            plain @ (Probe::Tcp | Probe::Icmp | Probe::Arp) => plain,
        }
    }

    fn text<T: Notation<Value = String>>(
        &mut self,
        key: &str,
        leaf: impl for<'r> Fn(&'r RawCheck) -> &'r Given<Leaf<T>>,
    ) -> Option<String> {
        self.reading.read(&self.at.key(key), leaf(self.raw))
    }

    fn mailbox(&mut self, base: MailboxProbe) -> MailboxProbe {
        MailboxProbe {
            security: self.security(base.security, true),
            login: self.login(base.login),
            mailbox: self.text("mailbox", |raw| &raw.mailbox).or(base.mailbox),
        }
    }

    fn security(&mut self, base: Security, may_start: bool) -> Security {
        let at = self.at.key("tls");
        let word = self.reading.read(&at, &self.raw.tls).unwrap_or_else(|| tls_word(&base));
        let tls = self.tls_options(tls_of(&base).cloned().unwrap_or_default());
        match word {
            TlsWord::Always => Security::Tls(tls),
            TlsWord::StartTls if may_start => Security::StartTls(tls),
            TlsWord::StartTls => {
                let complaint = Complaint::new("this protocol has no STARTTLS here").help("write `tls: always`");
                self.reading.refuse(at, complaint);
                Security::Plain
            }
            TlsWord::None => {
                if let Some(key) =
                    self.raw.given().into_iter().map(|(key, _)| key).find(|key| TLS_OPTIONS.contains(key))
                {
                    let complaint = Complaint::lack(format!("`{key}` means nothing without TLS"))
                        .help("add `tls: always` or `tls: starttls`");
                    self.reading.refuse(self.at.key(key), complaint);
                }
                Security::Plain
            }
        }
    }

    fn tls_options(&mut self, base: TlsOptions) -> TlsOptions {
        let ca_file = self.reading.read(&self.at.key("tls-ca-file"), &self.raw.tls_ca_file);
        TlsOptions {
            name: self.text("tls-name", |raw| &raw.tls_name).or(base.name),
            ca_file: ca_file.or(base.ca_file),
            min_days: self.reading.small(&self.at.key("min-days"), &self.raw.min_days).or(base.min_days),
        }
    }

    fn login(&mut self, base: Option<Login>) -> Option<Login> {
        let user = self.text("user", |raw| &raw.user);
        let password_file = self.reading.read(&self.at.key("password-file"), &self.raw.password_file);
        let (has_user, has_password) = (self.raw.user.0.is_some(), self.raw.password_file.0.is_some());
        if has_user != has_password {
            let keys = [("user", has_user, "probe"), ("password-file", has_password, "/etc/lbd/probe.password")];
            self.reading.require(self.at, "the probe's account", &keys);
        }
        match (user, password_file) {
            (Some(user), Some(password_file)) => Some(Login { user, password_file }),
            _ => base,
        }
    }
}

fn tls_of(security: &Security) -> Option<&TlsOptions> {
    match security {
        Security::Plain => None,
        Security::Tls(tls) | Security::StartTls(tls) => Some(tls),
    }
}

fn tls_word(security: &Security) -> TlsWord {
    match security {
        Security::Plain => TlsWord::None,
        Security::Tls(_) => TlsWord::Always,
        Security::StartTls(_) => TlsWord::StartTls,
    }
}

/// Type and options as they are written, without what a pool with this base has anyhow.
pub fn written(kind: &CheckKind, base: &CheckKind) -> Vec<Option<String>> {
    let word = word_of(kind);
    let same = word == word_of(base);
    let mut out = vec![(!same).then(|| pair("type", word.word()))];
    let CheckKind::Probe(probe) = kind else { return out };
    let base = if same { base.clone() } else { of_word(word) };
    let CheckKind::Probe(base) = base else { return out };
    match (&**probe, &*base) {
        (Probe::Tls(tls), _) => tls_written(tls, &mut out),
        (Probe::Smtp(p), Probe::Smtp(base)) => {
            security_written(&p.security, &base.security, &mut out);
            login_written(p.login.as_ref(), &mut out);
            out.extend([text("helo", &p.helo), text("sender", &p.sender), text("recipient", &p.recipient)]);
        }
        (Probe::Pop3(p), Probe::Pop3(base)) | (Probe::Imap(p), Probe::Imap(base)) => {
            security_written(&p.security, &base.security, &mut out);
            login_written(p.login.as_ref(), &mut out);
            out.push(text("mailbox", &p.mailbox));
        }
        (Probe::Http(p), Probe::Http(base)) => {
            security_written(&p.security, &base.security, &mut out);
            let range = |(first, last): &(u16, u16)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            };
            out.extend([
                unless("method", &p.method, &base.method),
                text("host", &p.host),
                unless("path", &p.path, &base.path),
                (p.status != base.status).then(|| pair("status", list(p.status.iter().map(range)))),
                text("body", &p.body),
            ]);
        }
        (Probe::Dns(p), Probe::Dns(base)) => out.extend([
            unless("query", &p.query, &base.query),
            unless("record", &p.record, &base.record),
            text("rcode", &p.rcode),
            text("answer", &p.answer),
            (p.tcp != base.tcp)
                .then(|| pair("transport", if p.tcp { TransportWord::Tcp } else { TransportWord::Udp }.word())),
        ]),
        (Probe::Radius(p), Probe::Radius(base)) => {
            // Without the profile the file must be named.
            if !same || p.secret_file != base.secret_file {
                out.push(Some(file("secret-file", &p.secret_file)));
            }
            login_written(p.login.as_ref(), &mut out);
        }
        (Probe::Ftp(FtpProbe { security, login }), Probe::Ftp(FtpProbe { security: base, .. }))
        | (Probe::Ldap(LdapProbe { security, login }), Probe::Ldap(LdapProbe { security: base, .. })) => {
            security_written(security, base, &mut out);
            login_written(login.as_ref(), &mut out);
        }
        (Probe::Mysql(p), _) => login_written(p.login.as_ref(), &mut out),
        (Probe::Script(p), _) => out.push(Some(pair("command", list(p.command.iter().map(quoted))))),
        _ => {}
    }
    out
}

fn text(key: &str, value: &Option<String>) -> Option<String> {
    value.as_ref().map(|value| pair(key, quoted(value)))
}

fn unless(key: &str, value: &str, default: &str) -> Option<String> {
    (value != default).then(|| pair(key, quoted(value)))
}

fn file(key: &str, path: &Path) -> String {
    pair(key, quoted(path.display()))
}

fn login_written(login: Option<&Login>, out: &mut Vec<Option<String>>) {
    if let Some(Login { user, password_file }) = login {
        out.extend([Some(pair("user", quoted(user))), Some(file("password-file", password_file))]);
    }
}

fn security_written(security: &Security, base: &Security, out: &mut Vec<Option<String>>) {
    let word = tls_word(security);
    if word != tls_word(base) {
        out.push(Some(pair("tls", word.word())));
    }
    if let Some(tls) = tls_of(security) {
        tls_written(tls, out);
    }
}

fn tls_written(tls: &TlsOptions, out: &mut Vec<Option<String>>) {
    out.push(text("tls-name", &tls.name));
    out.push(tls.ca_file.as_ref().map(|path: &PathBuf| file("tls-ca-file", path)));
    out.push(tls.min_days.map(|days| pair("min-days", days)));
}
