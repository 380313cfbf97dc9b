//! Courier's POP3 and IMAP servers on Maildir, with TLS, and the daemon that knows their users.
//!
//! Started as Debian's own scripts do, without their loggers.

use super::certificate::Certificate;
use super::machine::{Machine, Port};
use super::store::{ACCOUNTS, MAIL, OWNER};
use crate::lab::error::LabError;

/// What a machine with Courier has for itself.
pub const DIRECTORIES: [&str; 1] = ["/etc/courier"];
pub const AUTH: &str = "authdaemond";
pub const POP3: [&str; 2] = ["pop3", "pop3s"];
pub const IMAP: [&str; 2] = ["imap", "imaps"];
/// Connections at once, of all and of one address. By default a POP3 server has 40 (MAXDAEMONS) and 4
/// (MAXPERIP) and closes further ones without a word, so that the probes of a balancer, or its customers
/// behind full NAT, look like a failure.
const CONNECTIONS_MAX: &str = "400";
/// Where logins are verified.
const SOCKET: &str = "/run/courier/authdaemon/socket";
const PEM: &str = "/etc/courier/server.pem";

pub fn prepare(machine: &Machine, certificate: &Certificate) -> Result<(), LabError> {
    machine.write(
        "/etc/courier/authdaemonrc",
        "authmodulelist=\"authuserdb\"
daemons=5
authdaemonvar=/run/courier/authdaemon
DEBUG_LOGIN=0
DEFAULTOPTIONS=\"\"
",
    )?;
    machine.directory("/run/courier/authdaemon", "courier", 0o755)?;
    let (uid, gid) = super::machine::user(OWNER)?;
    let line = |user: &str, hash: &str| {
        format!("{user}\thome={MAIL}/{user}|mail={MAIL}/{user}|uid={uid}|gid={gid}|systempw={hash}\n")
    };
    let users: String = ACCOUNTS.iter().map(|account| line(account.user, account.hash)).collect();
    machine.write("/etc/courier/userdb", &users)?;
    // makeuserdb(8) refuses a file that others may read.
    machine.give("/etc/courier/userdb", "root", 0o600)?;
    machine.run("makeuserdb", &[])?;
    machine.write(PEM, &format!("{}{}", certificate.key, certificate.certificate))?;
    machine.give(PEM, "courier", 0o600)
}

pub fn start_auth(machine: &mut Machine) -> Result<(), LabError> {
    machine.start(AUTH, &["/usr/lib/courier/courier-authlib/authdaemond"], &[], &[Port::File(SOCKET)])
}

pub fn start_pop3(machine: &mut Machine) -> Result<(), LabError> {
    let server = ["/usr/lib/courier/courier/courierpop3login", "/usr/lib/courier/courier/courierpop3d", "."];
    let environment = [("POP3AUTH", ""), ("MIME_UNICODE_MESSAGE_TYPE", "message/global")];
    start(machine, POP3, [110, 995], &server, &environment, ["POP3_STARTTLS", "POP3_TLS"])
}

pub fn start_imap(machine: &mut Machine) -> Result<(), LabError> {
    let server = ["/usr/lib/courier/courier/imaplogin", "/usr/bin/imapd", "."];
    let environment = [
        ("IMAP_CAPABILITY", "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE SORT QUOTA IDLE"),
        // All machines share the store: one that hangs, or is killed, would leave a mailbox locked for the others.
        ("IMAP_USELOCKS", "0"),
        // Would watch mailboxes by a daemon that does not run here.
        ("IMAP_ENHANCEDIDLE", "0"),
    ];
    start(machine, IMAP, [143, 993], &server, &environment, ["IMAP_STARTTLS", "IMAP_TLS"])
}

/// One listener that offers TLS, and one where everything is.
fn start(
    machine: &mut Machine,
    [plain, tls]: [&str; 2],
    [plain_port, tls_port]: [u16; 2],
    server: &[&str],
    environment: &[(&str, &str)],
    [offers_tls, is_tls]: [&str; 2],
) -> Result<(), LabError> {
    let connections = [("-maxprocs", CONNECTIONS_MAX), ("-maxperip", CONNECTIONS_MAX)].map(|(k, v)| format!("{k}={v}"));
    let [all, each] = connections;
    let common = [("COURIERTLS", "/usr/bin/couriertls"), ("TLS_CERTFILE", PEM), ("TLS_VERIFYPEER", "NONE")];
    for (name, port, way, variable) in [
        (plain, plain_port, &[][..], (offers_tls, "YES")),
        (tls, tls_port, &["/usr/bin/couriertls", "-server", "-tcpd", "-user=courier"][..], (is_tls, "1")),
    ] {
        let number = port.to_string();
        let mut words =
            vec!["/usr/sbin/couriertcpd", "-address=0", &all, &each, "-nodnslookup", "-noidentlookup", &number];
        words.extend_from_slice(way);
        words.extend_from_slice(server);
        let environment = [environment, &common, &[variable]].concat();
        machine.start(name, &words, &environment, &[Port::Tcp(port)])?;
    }
    Ok(())
}
