//! Exim, as the site's MX and as its relay.

use super::certificate::Certificate;
use super::machine::{Machine, Port};
use super::store::{ACCOUNTS, MAIL, OWNER};
use crate::lab::error::LabError;

pub const PROGRAM: &str = "exim";
/// What a machine with Exim has for itself.
pub const DIRECTORIES: [&str; 3] = ["/etc/exim4", "/var/spool/exim4", "/var/log/exim4"];
const USER: &str = "Debian-exim";
/// Mail for this domain is the site's own.
pub const DOMAIN: &str = "example.net";

/// What an Exim is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes mail for the site from everybody, and delivers it into the mail store.
    Mx,
    /// Takes mail from customers, who prove it by their address or by a password, and hands what is the
    /// site's own to these machines.
    Relay { customers: Vec<String>, mx: Vec<String> },
}

impl Role {
    fn ports(&self) -> &'static [Port] {
        match self {
            Self::Mx => &[Port::Tcp(25)],
            Self::Relay { .. } => &[Port::Tcp(25), Port::Tcp(465), Port::Tcp(587)],
        }
    }
}

pub fn prepare(machine: &Machine, role: &Role, certificate: &Certificate) -> Result<(), LabError> {
    machine.write("/etc/exim4/exim4.conf", &configuration(machine.name(), role))?;
    machine.write("/etc/exim4/certificate.pem", &certificate.certificate)?;
    machine.write("/etc/exim4/key.pem", &certificate.key)?;
    machine.give("/etc/exim4/key.pem", USER, 0o640)?;
    let passwords: String = ACCOUNTS.iter().map(|a| format!("{}: {}\n", a.user, a.hash)).collect();
    machine.write("/etc/exim4/passwords", &passwords)?;
    machine.directory("/var/spool/exim4", USER, 0o750)?;
    machine.directory("/var/log/exim4", USER, 0o750)
}

pub fn start(machine: &mut Machine, role: &Role) -> Result<(), LabError> {
    machine.start(PROGRAM, &["/usr/sbin/exim4", "-bdf"], &[], role.ports())
}

fn configuration(machine: &str, role: &Role) -> String {
    let ports = match role {
        Role::Mx => "25",
        Role::Relay { .. } => "25 : 465 : 587",
    };
    let mut text = format!(
        "primary_hostname = {machine}.{DOMAIN}
daemon_smtp_ports = {ports}
tls_on_connect_ports = 465
tls_advertise_hosts = *
tls_certificate = /etc/exim4/certificate.pem
tls_privatekey = /etc/exim4/key.pem
# Every mail would be a line or five, for days.
log_selector = -all
# Nothing here asks a name server or the sender's machine.
host_lookup =
rfc1413_query_timeout = 0s
dns_ipv4_lookup = *
keep_environment =
# Probes and customers, as many as come.
smtp_accept_max = 0
local_interfaces = <; 0.0.0.0 ; ::0
domainlist own = {DOMAIN}
acl_smtp_rcpt = recipient
"
    );
    match role {
        Role::Mx => {
            let users = ACCOUNTS.map(|account| account.user).join(" : ");
            text += &format!(
                "
begin acl
recipient:
  deny  message = relay not permitted
        ! domains = +own
  require verify = recipient
  accept

begin routers
mailboxes:
  driver = accept
  domains = +own
  local_parts = {users}
  transport = maildir

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {MAIL}/$local_part_data
  user = {OWNER}
  group = {OWNER}
"
            );
        }
        Role::Relay { customers, mx } => {
            text += &format!(
                "hostlist customers = <; {}
begin acl
recipient:
  accept authenticated = *
  # Submission is for those who say who they are (RFC 6409).
  deny  message = authenticate first
        condition = ${{if !={{$received_port}}{{25}}}}
  accept hosts = +customers
  deny  message = relay not permitted

begin routers
to_mx:
  driver = manualroute
  domains = +own
  route_data = {}
  host_find_failed = defer
  hosts_randomize
  transport = smtp

begin transports
smtp:
  driver = smtp
  hosts_try_fastopen =

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_set_id = $auth2
  server_prompts = :
  server_condition = ${{if crypteq{{$auth3}}{{\\{{crypt\\}}${{lookup{{$auth2}}lsearch{{/etc/exim4/passwords}}}}}}}}
",
                customers.join(" ; "),
                mx.join(":")
            );
        }
    }
    text += "
begin retry
* * F,1h,1m
";
    text
}
