//! What a probe asks, as plain data: one structure for each protocol.
//!
//! Passwords and secrets are in files and only named here, so that a configuration can be shown, stored and
//! compared without giving them away.

use std::path::PathBuf;

/// How a member of a pool is proven to serve. docs/health.md says what each proves and sends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// A TCP connection can be opened.
    Tcp,
    /// A TLS handshake succeeds.
    Tls(TlsOptions),
    Smtp(SmtpProbe),
    Pop3(MailboxProbe),
    Imap(MailboxProbe),
    Http(HttpProbe),
    Dns(DnsProbe),
    Radius(RadiusProbe),
    Ftp(FtpProbe),
    Ldap(LdapProbe),
    Mysql(MysqlProbe),
    /// The server answers an ICMP echo request (RFC 792, RFC 4443).
    Icmp,
    /// The server answers ARP, or neighbour discovery, for its own address.
    Arp,
    Script(ScriptProbe),
}

impl Probe {
    /// As it is written in the configuration and shown to the operator.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::Smtp(_) => "smtp",
            Self::Pop3(_) => "pop3",
            Self::Imap(_) => "imap",
            Self::Http(_) => "http",
            Self::Dns(_) => "dns",
            Self::Radius(_) => "radius",
            Self::Ftp(_) => "ftp",
            Self::Ldap(_) => "ldap",
            Self::Mysql(_) => "mysql",
            Self::Icmp => "icmp",
            Self::Arp => "arp",
            Self::Script(_) => "script",
        }
    }
}

/// What is asked of the server's certificate. Nothing of it is asked by default, because servers behind a
/// balancer often present one that is their own; that it ends soon is told in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsOptions {
    /// Sent as SNI (RFC 6066), and demanded of the certificate.
    pub name: Option<String>,
    /// File of PEM certificates that the chain must lead to; `None`: the chain is not verified.
    pub ca_file: Option<PathBuf>,
    /// The probe fails when the certificate is valid for fewer days than this. 1 to 3,650; `None`: never.
    pub min_days: Option<u16>,
}

/// Where TLS comes into a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Security {
    #[default]
    Plain,
    /// From the first byte: SMTPS, POP3S, IMAPS, HTTPS, LDAPS.
    Tls(TlsOptions),
    /// By STARTTLS or STLS, after the greeting.
    StartTls(TlsOptions),
}

/// A user with a password, which is the first line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Login {
    /// User name; of LDAP, the distinguished name.
    pub user: String,
    pub password_file: PathBuf,
}

/// RFC 5321: banner and EHLO, then as far as asked, never into DATA.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SmtpProbe {
    pub security: Security,
    /// Name in EHLO; default `lbd-probe.invalid`.
    pub helo: Option<String>,
    /// AUTH PLAIN (RFC 4954), or LOGIN where only that is offered.
    pub login: Option<Login>,
    /// MAIL FROM is tried with this address; empty is the null sender. Needs no `recipient`.
    pub sender: Option<String>,
    /// RCPT TO is tried with this address; needs `sender`.
    pub recipient: Option<String>,
}

impl SmtpProbe {
    pub const HELO_DEFAULT: &'static str = "lbd-probe.invalid";
}

/// RFC 1939 (POP3), RFC 9051 and 3501 (IMAP): greeting and capabilities, and with a login the mailbox itself,
/// which finds a mail store that hangs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxProbe {
    pub security: Security,
    pub login: Option<Login>,
    /// IMAP: what is opened after the login, read-only; default `INBOX`. Not for POP3.
    pub mailbox: Option<String>,
}

/// RFC 9110, over HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpProbe {
    pub security: Security,
    /// Default `GET`.
    pub method: String,
    /// The `Host` field; default the address that is probed.
    pub host: Option<String>,
    /// Default `/`.
    pub path: String,
    /// Inclusive ranges of accepted status codes, each within 100 to 599; default 200-399.
    pub status: Vec<(u16, u16)>,
    /// Regular expression that must match somewhere in the first 64 KiB of the body.
    pub body: Option<String>,
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self {
            security: Security::Plain,
            method: "GET".into(),
            host: None,
            path: "/".into(),
            status: vec![(200, 399)],
            body: None,
        }
    }
}

/// RFC 1035.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsProbe {
    /// The name that is asked for; default the root, `.`.
    pub query: String,
    /// A mnemonic, `A`, `MX`, `SOA`; default `SOA`.
    pub record: String,
    /// A mnemonic that the answer must have, `NOERROR`, `NXDOMAIN`; `None`: any but SERVFAIL and REFUSED.
    pub rcode: Option<String>,
    /// Data that one of the answer's records must have, as a zone file would say it: `192.0.2.1`.
    pub answer: Option<String>,
    /// Asked over TCP instead of UDP.
    pub tcp: bool,
}

impl Default for DnsProbe {
    fn default() -> Self {
        Self { query: ".".into(), record: "SOA".into(), rcode: None, answer: None, tcp: false }
    }
}

/// RFC 2865, 2866, 2869, 5997.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RadiusProbe {
    /// The secret shared with the server is the first line of this file.
    pub secret_file: PathBuf,
    /// Access-Request for this user; `None`: Status-Server. Never for the accounting port.
    pub login: Option<Login>,
}

/// RFC 959: greeting, and with a login USER and PASS.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FtpProbe {
    /// `StartTls` is AUTH TLS (RFC 4217).
    pub security: Security,
    pub login: Option<Login>,
}

/// RFC 4511: a simple bind; anonymous without a login.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LdapProbe {
    /// `StartTls` is not offered here.
    pub security: Security,
    pub login: Option<Login>,
}

/// The server's handshake packet; with a login mysql_native_password or caching_sha2_password.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MysqlProbe {
    pub login: Option<Login>,
}

/// A command in the convention of Nagios plugins: exit status 0 and 1 (warning) are up, anything else is down,
/// and the first line of output says why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScriptProbe {
    /// Absolute path, then arguments; `{address}`, `{port}` and `{server}` (its own address) are replaced in each.
    pub command: Vec<String>,
}
