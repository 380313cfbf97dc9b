//! What can be said of a configuration, in commands: for each key of the file a command.
//!
//! The key's path is that of [docs/configuration.md](../../../docs/configuration.md), from the object that the mode is
//! about.

use super::Mode::{self, Backup, Global, Pool, Real, Service, Virtual};

/// How values stand under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One value.
    One,
    /// `true`, by being there.
    Flag,
    /// `on` and `off`.
    Switch,
    /// An object that is there, or is not: `on` and `off`.
    Presence,
    /// A list: a line for each.
    Each,
    /// A list, in one line.
    All,
    /// An object, in one line: the key of each keyword, the first without one.
    Object(&'static [(&'static str, &'static str)]),
    /// A list of such objects, a line for each.
    Objects(&'static [(&'static str, &'static str)]),
    /// Objects by their names, a line for each: the name first.
    Named(&'static [(&'static str, &'static str)]),
    /// The same, but a line leaves what it does not say as it is.
    Merged(&'static [(&'static str, &'static str)]),
    /// The lists of such objects, a line for each element, the name first: words, of which the first two say which it is.
    Within(&'static str),
    /// The hash of a password, behind a 9.
    Secret,
    /// Lines of text, each between two marks that are not in it.
    Text,
}

/// A command of a mode of the configuration.
#[derive(Debug)]
pub struct Line {
    pub mode: Mode,
    /// The keywords before the value.
    pub words: &'static str,
    /// The value, as a syntax; empty for a flag.
    pub value: &'static str,
    pub key: &'static str,
    pub form: Form,
    /// What it does.
    pub help: &'static str,
}

const fn line(
    mode: Mode,
    words: &'static str,
    value: &'static str,
    key: &'static str,
    form: Form,
    help: &'static str,
) -> Line {
    Line { mode, words, value, key, form, help }
}

use Form::{All, Each, Flag, Merged, Named, Object, Objects, One, Presence, Secret, Switch, Text, Within};

const PORTS: &[(&str, &str)] = &[("", "address"), ("ports", "ports")];
const LINK: &[(&str, &str)] = &[("", "mac"), ("port", "port"), ("vlan", "vlan")];
const USER: &[(&str, &str)] = &[("privilege", "level"), ("secret 9", "secret")];
const LOG_SERVER: &[(&str, &str)] = &[
    ("", "address"),
    ("transport", "transport"),
    ("port", "port"),
    ("facility", "facility"),
    ("severity", "severity"),
    ("ca-file", "ca-file"),
    ("name", "name"),
];
const FILES: &[(&str, &str)] = &[("", "certificate"), ("key", "key")];
const TOKEN: &[(&str, &str)] = &[("hash", "hash"), ("privilege", "level"), ("expires", "expires")];
const MEMBER: &[(&str, &str)] = &[("", "server"), ("port", "port"), ("weight", "weight"), ("backup", "backup")];
const PATH: &[(&str, &str)] = &[
    ("local", "local"),
    ("peer", "peer"),
    ("port", "port"),
    ("interface", "interface"),
    ("device", "device"),
    ("baud", "baud"),
];

/// In the order in which they are printed.
pub const LINES: &[Line] = &[
    line(Global, "hostname", "NAME", "hostname", One, "Name of this box"),
    line(
        Global,
        "enable secret",
        "[9] WORD",
        "enable-secret",
        Secret,
        "What `enable` asks for; 9: it is a hash already",
    ),
    line(
        Global,
        "username",
        "NAME [privilege 1-15] [secret [9] WORD]",
        "users",
        Merged(USER),
        "Somebody who may log in, his level and his password; 9: it is a hash already",
    ),
    line(Global, "username", "NAME ssh-key WORD WORD [LINE]", "users", Within("ssh-keys"), "A public key of a user"),
    line(Global, "banner motd", "LINE", "banner", Text, "Shown before the login: #text#, or #a line#another#"),
    line(Global, "ip ssh server", "<on|off>", "ssh.enabled", Switch, "The SSH listener"),
    line(Global, "ip ssh listen", "WORD", "ssh.listen", Each, "Address and port of the SSH listener"),
    line(Global, "ip ssh time-out", "TIME", "ssh.grace", One, "From the connection to the login"),
    line(Global, "ip ssh authentication-retries", "1-10", "ssh.attempts", One, "Wrong passwords of one connection"),
    line(Global, "ip ssh maxsessions", "1-64", "ssh.sessions", One, "Sessions at once"),
    line(Global, "ip ssh access-class", "PREFIX", "ssh.access", Each, "A network that may connect"),
    line(Global, "exec-timeout", "MINUTES", "ssh.idle", One, "A session without a key ends after this; 0 for never"),
    line(Global, "bridge name", "WORD", "interfaces.bridge", One, "The bridge that the ports belong to"),
    line(Global, "bridge port", "WORD", "interfaces.ports", Each, "A port of the data plane"),
    line(Global, "bridge manage", "", "interfaces.manage", Flag, "lbd sets the bridge up"),
    line(Global, "bridge mac", "MAC", "interfaces.mac", One, "The one MAC of this box"),
    line(Global, "bridge address", "PREFIX", "interfaces.addresses", Each, "An address of this box"),
    line(Global, "bridge stp", "<on|off>", "interfaces.stp", Switch, "Spanning tree of the kernel"),
    line(Global, "bridge uplink", "WORD", "interfaces.uplinks", Each, "A port towards the customers' routers"),
    line(Global, "bridge cross-connect", "WORD", "interfaces.cross-connect", Each, "A port towards the other box"),
    line(Global, "bridge xdp", "<auto|native|generic>", "interfaces.xdp", One, "How the program sits on the ports"),
    line(Global, "server inside", "PREFIX", "interfaces.inside", Each, "A floating gateway of NAT servers"),
    line(Global, "server source-nat-ip", "IP [ports PORTS]", "source-nat", Objects(PORTS), "An address for full NAT"),
    line(Global, "server limit connections", "1024-16777216", "limits.connections", One, "Established connections"),
    line(Global, "server limit embryonic", "1024-1048576", "limits.embryonic", One, "Connections in a handshake"),
    line(Global, "server limit persistence", "1024-4194304", "limits.persistence", One, "Clients bound to a server"),
    line(Global, "server limit fragments", "256-262144", "limits.fragments", One, "Fragmented datagrams on the way"),
    line(
        Global,
        "logging host",
        "IP [transport WORD] [port PORT] [facility WORD] [severity WORD] [ca-file WORD] [name WORD]",
        "logging.servers",
        Objects(LOG_SERVER),
        "A syslog server; transport udp, tcp or tls; what is as bad as the severity (info), or worse",
    ),
    line(Global, "logging source-address", "IP", "logging.source", One, "The address that the log comes from"),
    line(Global, "snmp-server agentx", "WORD", "snmp.agentx", One, "The system's SNMP agent: a socket, or tcp:IP:PORT"),
    line(Global, "ip http listen", "WORD", "http.listen", Each, "Address and port of the HTTP listener"),
    line(Global, "ip http tls", "WORD key WORD", "http.tls", Object(FILES), "Files of its certificate and of the key"),
    line(Global, "ip http access-class", "PREFIX", "http.allow", Each, "A network that may connect"),
    line(Global, "ip http require-token", "", "http.require-token", Flag, "On loopback too"),
    line(
        Global,
        "ip http token",
        "NAME hash WORD [privilege 0-15] [expires WORD]",
        "http.tokens",
        Merged(TOKEN),
        "What lets a program in: `generate api-token` makes one",
    ),
    line(Global, "ip http token", "NAME from PREFIX", "http.tokens", Within("from"), "A network it is good from"),
    line(Backup, "peer-mac", "MAC", "peer-mac", One, "The MAC of the other box"),
    line(Backup, "key-file", "WORD", "key-file", One, "File of the key that both share"),
    line(Backup, "priority", "0-255", "priority", One, "The greater should own"),
    line(Backup, "preempt", "TIME", "preempt", One, "The greater takes over so long after it is ready"),
    line(Backup, "heartbeat", "TIME", "heartbeat", One, "Between two heartbeats"),
    line(Backup, "dead", "TIME", "dead", One, "A peer that is silent for so long is dead"),
    line(Backup, "orphan-after", "TIME", "orphan-after", One, "A dead daemon's addresses are kept for so long"),
    line(
        Backup,
        "path",
        "NAME [local IP] [peer IP] [port PORT] [interface WORD] [device WORD] [baud 9600-921600]",
        "paths",
        Named(PATH),
        "A way of heartbeats: addresses, or a serial line",
    ),
    line(Backup, "track", "WORD", "track", Each, "A port without which this box does not want to own"),
    line(Backup, "gateway", "IP", "gateways", Each, "A router that an owner must reach"),
    line(Backup, "fence command", "(WORD)...", "fence.command", All, "Switches the other box off"),
    line(Backup, "fence timeout", "TIME", "fence.timeout", One, "How long that may take"),
    line(Real, "ip-address", "IPV4", "address", One, "Its IPv4 address"),
    line(Real, "ipv6-address", "IPV6", "address6", One, "Its IPv6 address"),
    line(Real, "weight", "1-1000", "weight", One, "Share of new connections"),
    line(Real, "max-conn", "0-4294967295", "max-connections", One, "Most connections at once; 0 for no limit"),
    line(Real, "link", "MAC port WORD [vlan 1-4094]", "link", Object(LINK), "Where it is on the wire"),
    line(Pool, "profile", "WORD", "profile", One, "What kind of service it is"),
    line(Pool, "member", "REAL [port PORT] [weight 1-1000] [backup]", "members", Objects(MEMBER), "A real server"),
    line(Pool, "port", "PORT", "port", One, "The port of the real servers"),
    line(
        Pool,
        "predictor",
        "<maglev|round-robin|least-connections|source-hash>",
        "scheduler",
        One,
        "How a server is chosen",
    ),
    line(Pool, "slow-start", "TIME", "slow-start", One, "Time in which a server that comes back gets all of its share"),
    line(Pool, "min-up", "0-1000", "min-up", One, "Fewer members up than this are too few"),
    line(Pool, "below-min", "<backup|hold|refuse>", "below-min", One, "What is done about too few"),
    line(Pool, "backup-pool", "POOL", "backup-pool", One, "A pool whose members are backups of this one"),
    line(Pool, "on-failure", "<reset|keep>", "on-failure", One, "What becomes of a failed member's connections"),
    line(Pool, "migrate to", "POOL", "migrate.to", One, "The pool that clients move to"),
    line(Pool, "migrate share", "SHARE", "migrate.share", One, "A share of all clients moves"),
    line(Pool, "migrate clients", "PREFIX", "migrate.clients", Each, "The clients of a network move"),
    line(Pool, "check type", "WORD", "check.type", One, "The protocol of the probe"),
    line(Pool, "check port", "PORT", "check.port", One, "Another port than the member's"),
    line(
        Pool,
        "check target",
        "<auto|server>",
        "check.target",
        One,
        "In DSR: the virtual address, or the server's own",
    ),
    line(Pool, "check interval", "TIME", "check.interval", One, "Between two probes"),
    line(Pool, "check fast-interval", "TIME", "check.fast-interval", One, "The same while in doubt"),
    line(Pool, "check timeout", "TIME", "check.timeout", One, "How long an answer may take"),
    line(Pool, "check slow", "TIME", "check.slow", One, "An answer that took longer is a failure"),
    line(Pool, "check rise", "1-10", "check.rise", One, "Successes in a row until a member is up"),
    line(Pool, "check fall", "1-10", "check.fall", One, "Failures in a row until it is down"),
    line(Pool, "check flap-hold", "TIME", "check.flap-hold", One, "A member that flaps is held down for so long"),
    line(Pool, "check tls", "<none|always|starttls>", "check.tls", One, "TLS from the beginning, or by STARTTLS"),
    line(Pool, "check tls-name", "WORD", "check.tls-name", One, "The name that the certificate must have"),
    line(Pool, "check tls-ca-file", "WORD", "check.tls-ca-file", One, "Certificates that the chain must lead to"),
    line(Pool, "check min-days", "1-3650", "check.min-days", One, "Days for which the certificate must be valid"),
    line(Pool, "check user", "WORD", "check.user", One, "Logs in as this user"),
    line(Pool, "check password-file", "WORD", "check.password-file", One, "File of the user's password"),
    line(Pool, "check secret-file", "WORD", "check.secret-file", One, "RADIUS: file of the secret"),
    line(Pool, "check helo", "WORD", "check.helo", One, "SMTP: the name in EHLO"),
    line(Pool, "check sender", "WORD", "check.sender", One, "SMTP: MAIL FROM is tried"),
    line(Pool, "check recipient", "WORD", "check.recipient", One, "SMTP: RCPT TO is tried"),
    line(Pool, "check mailbox", "WORD", "check.mailbox", One, "IMAP: the mailbox that is opened"),
    line(Pool, "check method", "WORD", "check.method", One, "HTTP: the method"),
    line(Pool, "check host", "WORD", "check.host", One, "HTTP: the host"),
    line(Pool, "check path", "WORD", "check.path", One, "HTTP: the path"),
    line(Pool, "check status", "WORD", "check.status", Each, "HTTP: a status, or a range, that is good"),
    line(Pool, "check body", "WORD", "check.body", One, "HTTP: what must match in the body"),
    line(Pool, "check query", "WORD", "check.query", One, "DNS: the name"),
    line(Pool, "check record", "WORD", "check.record", One, "DNS: the type of record"),
    line(Pool, "check rcode", "WORD", "check.rcode", One, "DNS: the rcode that is expected"),
    line(Pool, "check answer", "WORD", "check.answer", One, "DNS: what an answer must have"),
    line(Pool, "check transport", "<udp|tcp>", "check.transport", One, "DNS: over UDP or TCP"),
    line(Pool, "check command", "(WORD)...", "check.command", All, "A command in the convention of Nagios plugins"),
    line(Virtual, "ip-address", "IP", "addresses", Each, "An address that customers connect to"),
    line(Service, "pool", "POOL", "pool", One, "The pool that serves it"),
    line(Service, "protocol", "<tcp|udp>", "protocol", One, "TCP or UDP"),
    line(Service, "port", "PORTS", "port", One, "The port, or a range of ports"),
    line(Service, "mode", "<dsr|nat|full-nat>", "mode", One, "How packets reach the real servers"),
    line(Service, "sticky", "<on|off>", "persistence", Presence, "A client stays with its server"),
    line(Service, "sticky timeout", "TIME", "persistence.timeout", One, "Since its last new connection"),
    line(Service, "sticky prefix4", "1-32", "persistence.prefix4", One, "Clients of an IPv4 network count as one"),
    line(Service, "sticky prefix6", "1-128", "persistence.prefix6", One, "Clients of an IPv6 network count as one"),
    line(Service, "sticky group", "NAME", "persistence.group", One, "Services of a group share the binding"),
    line(Service, "timeout embryonic", "TIME", "timeouts.embryonic", One, "Of a handshake"),
    line(Service, "timeout unproven", "TIME", "timeouts.unproven", One, "DSR: without sustained progress"),
    line(Service, "timeout established", "TIME", "timeouts.established", One, "Of a connection without traffic"),
    line(Service, "timeout closing", "TIME", "timeouts.closing", One, "After one side has closed"),
    line(Service, "timeout closed", "TIME", "timeouts.closed", One, "After both have"),
    line(Service, "timeout udp", "TIME", "timeouts.udp", One, "Of a UDP flow"),
    line(Service, "udp life", "<idle|max-age|per-packet>", "udp.life", One, "How long a UDP flow lives"),
    line(Service, "udp max-age", "TIME", "udp.max-age", One, "No longer than this"),
    line(Service, "passive", "PORTS", "passive", One, "FTP: the ports of passive data connections"),
];
