//! Debian's Exim behind the virtual IP, and swaks as the one who sends: real programs on both sides.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lbd::lab::mail::{self, CLIENT};
use lbd::lab::{Host, Process};
use nix::unistd::{User, chown};

use super::stage::{Mode, Stage, interfaces, ways};

/// From Debian's packages, which `make setup` installs.
const EXIM: &str = "/usr/sbin/exim4";
const SWAKS: &str = "/usr/bin/swaks";

/// Exim in the foreground, with a configuration and a spool of its own; every mail goes into one file.
struct Exim {
    // Dropped first: it writes into the directory.
    _daemon: Process,
    mailbox: PathBuf,
    log: PathBuf,
}

impl Exim {
    fn start(stage: &Stage, pc: &str) -> Self {
        let user = User::from_name("Debian-exim").unwrap().expect("the package makes a user Debian-exim");
        let dir = stage.site.dir().join(pc);
        let spool = dir.join("spool");
        for dir in [&dir, &spool] {
            fs::create_dir(dir).unwrap();
            fs::set_permissions(dir, Permissions::from_mode(0o750)).unwrap();
            chown(dir, Some(user.uid), Some(user.gid)).unwrap();
        }
        let (file, mailbox, log) = (dir.join("exim.conf"), dir.join("mailbox"), dir.join("log-main"));
        fs::write(&file, configuration(pc, &dir, &mailbox)).unwrap();
        let mut command = stage.host(pc).command(EXIM);
        let words = fs::File::create(dir.join("words")).unwrap();
        command.arg("-C").arg(&file).arg("-bdf").stdin(Stdio::null());
        // It says at each mail that a configuration that is not the system's makes it an ordinary user.
        command.stdout(words.try_clone().unwrap()).stderr(words);
        let daemon = stage.site.start(pc, command).unwrap();
        Self { _daemon: daemon, mailbox, log }
    }

    fn mailbox(&self) -> String {
        fs::read_to_string(&self.mailbox).unwrap_or_default()
    }
}

fn configuration(pc: &str, dir: &Path, mailbox: &Path) -> String {
    let (dir, mailbox) = (dir.display(), mailbox.display());
    format!(
        "primary_hostname = {pc}.example.net
spool_directory = {dir}/spool
log_file_path = {dir}/log-%s
pid_file_path = {dir}/pid
daemon_smtp_ports = 25
acl_smtp_rcpt = everybody
# Nothing here asks a name server or the sender's machine.
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
keep_environment =
smtp_accept_max = 0

begin acl
everybody:
  accept

begin routers
all:
  driver = accept
  transport = one_file

begin transports
one_file:
  driver = appendfile
  file = {mailbox}
  user = Debian-exim
  group = Debian-exim
"
    )
}

fn config() -> String {
    let mut text = interfaces(2, "auto");
    text += "servers:\n";
    for n in 1..=2 {
        text += &format!("  pc{n}: {{address: {}, address6: \"{}\"}}\n", mail::pc_address(n), mail::pc_address6(n));
    }
    text += "pools:\n  smtp: {members: [pc1, pc2], scheduler: round-robin, slow-start: 0s, \
             check: {type: tcp, interval: 500ms, timeout: 500ms, rise: 1, fall: 10}}\nvirtual-servers:\n";
    for mode in Mode::ALL {
        let (word, four, six) = (mode.word(), mode.vip(false), mode.vip(true));
        text += &format!(
            "  {word}: {{addresses: [{four}, \"{six}\"], services: {{smtp: {{port: smtp, pool: smtp, mode: {word}}}}}}}\n"
        );
    }
    text
}

/// Sends a mail with this body; what swaks and the server said to each other.
fn send(client: &Host, mode: Mode, v6: bool, body: &Path) -> String {
    let mut swaks: Command = client.command(SWAKS);
    swaks.args(["--server", &mode.vip(v6).to_string(), "--port", "25", "--timeout", "20"]);
    swaks.args(["--helo", "client.example.org", "--from", "alice@example.org", "--to", "bob@example.net"]);
    swaks.args(["--suppress-data", "--body"]).arg(format!("@{}", body.display())).stdin(Stdio::null());
    let output = swaks.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{mode:?} {v6}: {said}");
    said
}

#[test]
fn exim_takes_mail_from_swaks_in_every_mode() {
    for program in [EXIM, SWAKS] {
        assert!(
            Path::new(program).exists(),
            "{program} is missing: install exim4-daemon-light, swaks, libio-socket-inet6-perl"
        );
    }
    let stage = Stage::bare(&mail::plan(2), &[]);
    let exims = ["pc1", "pc2"].map(|pc| Exim::start(&stage, pc));
    let mut stage = stage.balance(&config(), 12);
    let mut received = [0, 0];
    for (mode, v6) in ways() {
        for number in 0..4 {
            // 400 kB, so that a mail is more than a few packets.
            let line = format!("{mode:?} {v6} {number}: all work and no play makes a dull mail\n");
            let text = line.repeat(400_000 / line.len());
            let body = stage.site.dir().join("body");
            fs::write(&body, &text).unwrap();
            let said = send(stage.host(CLIENT), mode, v6, &body);
            let pc = usize::from(said.contains("220 pc2.example.net"));
            assert!(said.contains(&format!("220 pc{}.example.net ESMTP Exim", pc + 1)), "{said}");
            received[pc] += 1;
            stage.until(Duration::from_secs(10), "the mail is delivered, whole", |_| {
                let log = || fs::read_to_string(&exims[pc].log).unwrap_or_default();
                if exims[pc].mailbox().contains(&text) { Ok(()) } else { Err(log()) }
            });
        }
    }
    assert_eq!(received, [12, 12], "in turn");
    stage.end(&[]);
}
