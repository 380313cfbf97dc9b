//! FreeRADIUS: authentication and accounting for the site's users.

use super::machine::{Machine, Port};
use super::store::ACCOUNTS;
use crate::lab::error::LabError;
use crate::lab::servers::RADIUS_SECRET;

pub const PROGRAM: &str = "freeradius";
/// What a machine with FreeRADIUS has for itself.
pub const DIRECTORIES: [&str; 2] = ["/etc/freeradius/3.0", "/var/log/freeradius"];
const USER: &str = "freerad";

pub fn prepare(machine: &Machine) -> Result<(), LabError> {
    machine.write("/etc/freeradius/3.0/radiusd.conf", &configuration())?;
    machine.write("/etc/freeradius/3.0/dictionary", "$INCLUDE /usr/share/freeradius/dictionary\n")?;
    let name = machine.name();
    let entry = |user: &str, password: &str| {
        format!("{user} Cleartext-Password := \"{password}\"\n\tReply-Message = \"{name}\"\n")
    };
    let users: String = ACCOUNTS.iter().map(|account| entry(account.user, account.password)).collect();
    machine.write("/etc/freeradius/3.0/users", &users)?;
    machine.directory("/var/log/freeradius", USER, 0o750)?;
    machine.directory("/run/freeradius", USER, 0o755)
}

pub fn start(machine: &mut Machine) -> Result<(), LabError> {
    machine.start(PROGRAM, &["/usr/sbin/freeradius", "-f", "-l", "stdout"], &[], &[Port::Udp(1812), Port::Udp(1813)])
}

fn configuration() -> String {
    let listen = |kind: &str, port: u16| {
        [("ipaddr", "*"), ("ipv6addr", "::")]
            .map(|(key, any)| format!("  listen {{\n    type = {kind}\n    {key} = {any}\n    port = {port}\n  }}\n"))
            .concat()
    };
    let client = |name: &str, key: &str, all: &str| {
        format!("client {name} {{\n  {key} = {all}\n  secret = {RADIUS_SECRET}\n}}\n")
    };
    format!(
        "name = freeradius
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = /etc/freeradius/3.0
logdir = /var/log/freeradius
run_dir = /run/freeradius
db_dir = /run/freeradius
hostname_lookups = no
proxy_requests = no
max_requests = 4096
max_request_time = 5
cleanup_delay = 1
log {{
  destination = stdout
}}
security {{
  user = {USER}
  group = {USER}
  allow_core_dumps = no
  reject_delay = 0
  # Status-Server is answered (RFC 5997): what the balancer asks.
  status_server = yes
}}
thread pool {{
  start_servers = 2
  max_servers = 8
  min_spare_servers = 1
  max_spare_servers = 4
  max_requests_per_server = 0
}}
{}{}modules {{
  files {{
    usersfile = /etc/freeradius/3.0/users
  }}
  pap {{
  }}
  always ok {{
    rcode = ok
  }}
}}
server default {{
{}{}  authorize {{
    files
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
  }}
  preacct {{
  }}
  accounting {{
    ok
  }}
}}
",
        client("ipv4", "ipaddr", "0.0.0.0/0"),
        client("ipv6", "ipv6addr", "::/0"),
        listen("auth", 1812),
        listen("acct", 1813)
    )
}
