//! BIND: the site's zone, and one that names the server.

use super::machine::{Machine, Port};
use crate::lab::error::LabError;

pub const PROGRAM: &str = "named";
/// What a machine with BIND has for itself.
pub const DIRECTORIES: [&str; 2] = ["/etc/bind", "/var/cache/bind"];
const USER: &str = "bind";

/// `site` are the records of `example.net`, as a zone file has them.
pub fn prepare(machine: &Machine, site: &str) -> Result<(), LabError> {
    machine.write(
        "/etc/bind/named.conf",
        "options {
  directory \"/var/cache/bind\";
  listen-on { any; };
  listen-on-v6 { any; };
  recursion no;
  minimal-responses yes;
  notify no;
};
controls {};
zone \"example.net\" { type primary; file \"/etc/bind/example.net\"; };
zone \"whoami\" { type primary; file \"/etc/bind/whoami\"; };
",
    )?;
    let name = machine.name();
    let head = |server: &str| format!("$TTL 0\n@ SOA {server} hostmaster 1 1h 15m 1w 0\n@ NS {server}\n");
    machine.write("/etc/bind/example.net", &(head("ns") + site))?;
    machine.write("/etc/bind/whoami", &format!("{}@ TXT \"{name}\"\n", head("ns.example.net.")))?;
    machine.directory("/var/cache/bind", USER, 0o755)?;
    machine.directory("/run/named", USER, 0o755)
}

pub fn start(machine: &mut Machine) -> Result<(), LabError> {
    let words = ["/usr/sbin/named", "-u", USER, "-g", "-n", "1", "-c", "/etc/bind/named.conf"];
    machine.start(PROGRAM, &words, &[], &[Port::Tcp(53), Port::Udp(53)])
}
