//! The site, with servers on every PC and the balancer under test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lbd::lab::customer::{self, Tally, Visit};
use lbd::lab::mail::{self, BALANCER, CLIENT};
use lbd::lab::servers::{Kind, Responder};
use lbd::lab::{Host, Process, Site};
use nix::sys::signal::Signal;

use super::api::{Api, State};
use super::conf::Conf;

pub const LBD: &str = env!("CARGO_BIN_EXE_lbd");
/// What every PC serves: echo, by TCP and UDP.
pub const ECHO_PORTS: [u16; 6] = [7, 80, 110, 443, 995, 1813];
/// Of every wait for a condition: long, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Stage {
    balancer: Option<Process>,
    servers: BTreeMap<String, Process>,
    // Last: it removes what the processes above stand on.
    pub site: Site,
}

impl Stage {
    /// The site with `pcs` servers and a balancer whose members are all in service.
    pub fn new(pcs: u8, conf: &Conf) -> Self {
        let mut stage = Self::without_balancer(pcs);
        stage.configure(conf);
        stage.start();
        stage.wait("every member is scheduled", State::all_scheduled);
        stage
    }

    pub fn without_balancer(pcs: u8) -> Self {
        lbd::lab::process::raise_file_limit().unwrap();
        let site = Site::build(&mail::plan(pcs)).unwrap();
        let mut stage = Self { balancer: None, servers: BTreeMap::new(), site };
        for n in 1..=pcs {
            stage.start_server(&format!("pc{n}"));
        }
        stage
    }

    pub fn start_server(&mut self, pc: &str) {
        let serve = ECHO_PORTS.map(|port| Responder { kind: Kind::Echo, port });
        let process = mail::start_server(&self.site, pc, Path::new(LBD), &serve).unwrap();
        self.servers.insert(pc.into(), process);
    }

    /// SIGKILL to a PC's servers: the kernel closes their connections, and refuses new ones.
    pub fn kill_server(&mut self, pc: &str) {
        self.servers.remove(pc).unwrap().kill().unwrap();
    }

    /// A further echo server, with a process of its own: it can hang while the others of its PC are asked.
    pub fn serve_apart(&self, pc: &str, port: u16) -> Process {
        mail::start_server(&self.site, pc, Path::new(LBD), &[Responder { kind: Kind::Echo, port }]).unwrap()
    }

    pub fn dir(&self) -> PathBuf {
        self.site.dir()
    }

    pub fn config_file(&self) -> PathBuf {
        self.dir().join("lb1.yaml")
    }

    pub fn bpf_dir(&self) -> PathBuf {
        self.dir().join("run/bpf")
    }

    pub fn configure(&self, conf: &Conf) {
        self.configure_text(&conf.text());
    }

    pub fn configure_text(&self, text: &str) {
        fs::write(self.config_file(), text).unwrap();
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        self.start_program(Path::new(LBD));
    }

    /// The same with another file of the program.
    pub fn start_program(&mut self, program: &Path) {
        let dir = self.dir();
        let output = File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let errors = output.try_clone().unwrap();
        let mut command = self.host(BALANCER).command(program);
        command.arg("run").arg("--config").arg(self.config_file());
        command.arg("--state-dir").arg(dir.join("state")).arg("--run-dir").arg(dir.join("run"));
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(output).stderr(errors);
        self.balancer = Some(self.site.start(BALANCER, command).unwrap());
        let deadline = Instant::now() + PATIENCE;
        while self.api().try_state().is_err() {
            let ended = self.balancer.as_mut().unwrap().ended().unwrap();
            assert!(ended.is_none(), "the balancer has ended with {ended:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "the balancer does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// kill -9: nothing of it can run any more when this returns.
    pub fn kill_balancer(&mut self) {
        self.balancer.take().unwrap().kill().unwrap();
    }

    /// SIGTERM.
    pub fn stop_balancer(&mut self) -> ExitStatus {
        self.balancer.take().unwrap().stop().unwrap()
    }

    pub fn hang_up(&self) {
        self.balancer.as_ref().unwrap().signal(Signal::SIGHUP).unwrap();
    }

    /// What the command line says to a line; it must not refuse it.
    pub fn typed(&self, line: &str) -> String {
        let mut console = Command::new(LBD);
        console.arg("console").arg("--run-dir").arg(self.dir().join("run")).args(line.split(' '));
        let output = console.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    pub fn host(&self, name: &str) -> &Host {
        self.site.host(name).unwrap()
    }

    pub fn client(&self) -> &Host {
        self.host(CLIENT)
    }

    pub fn api(&self) -> Api {
        Api::new(self.host(BALANCER).clone())
    }

    pub fn state(&self) -> State {
        self.api().state()
    }

    /// Waits for a state; how long it took.
    pub fn wait(&self, what: &str, so: impl Fn(&State) -> bool) -> Duration {
        let start = Instant::now();
        loop {
            let state = self.api().try_state();
            if state.as_ref().is_ok_and(|state| state.has_begun() && so(state)) {
                return start.elapsed();
            }
            assert!(start.elapsed() < PATIENCE, "not in time: {what}\n{state:#?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// New connections, one after the other's end, `at_once` of them at a time; who answered.
    pub fn ask(&self, target: &str, times: usize) -> Tally {
        self.visit(Visit::new(Kind::Echo, address(target)).times(times))
    }

    pub fn visit(&self, mut visit: Visit) -> Tally {
        visit.at_once = visit.at_once.min(16);
        self.client().block_on(move || customer::visit(visit, |_| {})).unwrap()
    }

    /// The sockets of a server's own port in the states that `ss` is asked for, without the balancer's probes.
    pub fn sockets(&self, pc: &str, states: &str, port: u16) -> u64 {
        let mut ss = self.host(pc).command("ss");
        ss.args(["-Htn"]);
        for state in states.split(' ') {
            ss.args(["state", state]);
        }
        let output = ss.args(["sport", "=", &format!(":{port}")]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let probe = |line: &&str| line.contains("10.1.0.2]:") || line.contains("[fd00:1::2]:");
        text.lines().filter(|line| !probe(line)).count() as u64
    }

    /// SYNs that the client had to send again: each is a packet that got lost on the way.
    pub fn syns_repeated(&self) -> u64 {
        let text = self.client().enter(|| fs::read_to_string("/proc/thread-self/net/netstat")).unwrap().unwrap();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut pairs = names.split(' ').zip(values.split(' '));
        pairs.find(|(name, _)| *name == "TCPSynRetrans").unwrap().1.parse().unwrap()
    }

    /// The output of a command in a host, which must succeed.
    pub fn run(&self, host: &str, program: &str, args: &[&str]) -> String {
        let output = self.host(host).command(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The client's further address number `n`.
pub fn customer_address(n: usize) -> IpAddr {
    mail::customers(false)[n]
}

/// Waits for something that is not in the state.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
