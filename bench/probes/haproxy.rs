//! HAProxy with one thread, as a prober of the same targets.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use lbd::lab::{Process, Site};

use super::prober::Load;
use super::responder::{SMTP, TCP};
use super::stage::{self, PROBER};
use super::{INTERVAL, TIMEOUT};

pub struct Haproxy {
    process: Process,
    socket: PathBuf,
}

impl Haproxy {
    pub fn start(site: &Site, load: Load, targets: u16) -> Result<Self> {
        let (check, port) = match load {
            Load::Tcp => ("option tcp-check", TCP),
            Load::Smtp => ("option smtpchk EHLO lbd-probe.invalid", SMTP),
            Load::Mix => bail!("the mix is lbd's alone"),
        };
        let (socket, file) = (site.dir().join("haproxy.sock"), site.dir().join("haproxy.cfg"));
        let (timeout, interval) = (TIMEOUT.as_millis(), INTERVAL.as_millis());
        let mut text = format!(
            "global\n  nbthread 1\n  maxconn 100\n  stats socket {}\ndefaults\n  mode tcp\n  timeout connect {timeout}ms\n  \
             timeout client 1s\n  timeout server 1s\n  timeout check {timeout}ms\nbackend bench\n  {check}\n",
            socket.display()
        );
        for number in 0..targets {
            writeln!(text, "  server s{number} {}:{port} check inter {interval}ms", stage::own(number))?;
        }
        std::fs::write(&file, text)?;
        let mut command = site.host(PROBER)?.command("haproxy");
        command.args(["-db", "-q", "-f"]).arg(&file).stdout(Stdio::null());
        let process = site.start(PROBER, command).context("is HAProxy installed? (tools/setup.sh bench)")?;
        Ok(Self { process, socket })
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// How many of the targets it has for up.
    pub fn up(&self) -> Result<usize> {
        let mut stream = UnixStream::connect(&self.socket).context("HAProxy's socket")?;
        stream.write_all(b"show stat -1 4 -1\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.lines().filter(|line| line.split(',').nth(17) == Some("UP")).count())
    }
}
