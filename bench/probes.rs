//! What it costs to ask ten thousand targets every two seconds.
//!
//! Everything runs in a network namespace of its own, on its loopback; the responder is one process, the
//! prober another. What is counted is the prober's CPU time, kernel included, as a share of one core.
//!
//! - lbd and HAProxy (one thread) one after the other: TCP connections, and SMTP up to the answer to EHLO.
//! - lbd alone: a mix of protocols, of which one in twenty targets never answers.
//!
//! `cargo bench --bench probes -- [--seconds 20] [--rounds 2] [--targets 10000] [tcp smtp mix]`

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lbd::config::probe::{SmtpProbe, TlsOptions};
use lbd::config::{Check, Probe};
use lbd::core::check::Verdict;
use lbd::core::target::{Pace, Question, Target};
use lbd::health::executor::{Executor, Wanted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
/// Time until a prober has found its rhythm.
const WARM_UP: Duration = Duration::from_secs(5);

const TCP: u16 = 7001;
const SMTP: u16 = 7025;
const TLS: u16 = 7993;
const SILENT: u16 = 7999;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("respond") => respond(),
        Some("probe") => probe(arguments.get(1).context("what?")?, arguments.get(2).context("how many?")?.parse()?),
        _ => measure(&arguments),
    }
}

/// Which targets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Tcp,
    Smtp,
    Mix,
}

impl Load {
    fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "tcp" => Self::Tcp,
            "smtp" => Self::Smtp,
            "mix" => Self::Mix,
            other => bail!("'{other}': say tcp, smtp or mix"),
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Smtp => "smtp",
            Self::Mix => "mix",
        }
    }
}

fn address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

fn targets(load: Load, count: u16) -> Wanted {
    let check = Check { interval: INTERVAL, timeout: TIMEOUT, ..Check::default() };
    let mut wanted = BTreeMap::new();
    for number in 0..count {
        let (probe, port) = match load {
            Load::Tcp => (Probe::Tcp, TCP),
            Load::Smtp => (Probe::Smtp(SmtpProbe::default()), SMTP),
            Load::Mix => match number % 20 {
                19 => (Probe::Smtp(SmtpProbe::default()), SILENT),
                kind if kind % 3 == 0 => (Probe::Tcp, TCP),
                kind if kind % 3 == 1 => (Probe::Smtp(SmtpProbe::default()), SMTP),
                _ => (Probe::Tls(TlsOptions::default()), TLS),
            },
        };
        let question = Question { address: (address(number), port).into(), via: None, probe: probe.into() };
        wanted.insert(Target { question, pace: Pace::of(&check) }, None);
    }
    wanted
}

/// The prober's process: asks, and at each line of its input tells how it goes.
fn probe(load: &str, count: u16) -> Result<()> {
    let (send, mut receive) = tokio::sync::mpsc::channel(64);
    let executor = Executor::new(send)?;
    let answered = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let counts = answered.clone();
    std::thread::spawn(move || {
        while let Some(batch) = receive.blocking_recv() {
            for answer in batch {
                let failed = usize::from(matches!(answer.outcome.verdict, Verdict::Failure(_)));
                counts[failed].fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    executor.set(targets(Load::named(load)?, count));
    for _ in std::io::stdin().lines() {
        let stats = executor.stats();
        let [good, failed] = [&answered[0], &answered[1]].map(|count| count.load(Ordering::Relaxed));
        let late = [stats.lateness.p50, stats.lateness.p99, stats.lateness.max].map(|time| time.as_micros());
        println!("{good} {failed} {} {} {} {}", stats.put_off, late[0], late[1], late[2]);
    }
    Ok(())
}

/// The responder's process; at each line of its input it tells how many connections it has had.
fn respond() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let count = Arc::new(AtomicU64::new(0));
    let told = count.clone();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines() {
            println!("{}", told.load(Ordering::Relaxed));
        }
        std::process::exit(0);
    });
    runtime.block_on(async {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let tls = server_config()?;
        for port in [TCP, SMTP, TLS, SILENT] {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(any(port))?;
            let listener = socket.listen(4096)?;
            tokio::spawn(accept(listener, port, count.clone(), tls.clone()));
        }
        println!("ready");
        std::future::pending().await
    })
}

async fn accept(listener: TcpListener, port: u16, count: Arc<AtomicU64>, tls: Arc<rustls::ServerConfig>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        count.fetch_add(1, Ordering::Relaxed);
        let tls = tls.clone();
        tokio::spawn(async move {
            _ = match port {
                SMTP => smtp(stream).await,
                TLS => handshake(stream, tls).await,
                _ => end(stream).await,
            };
        });
    }
}

async fn end(mut stream: TcpStream) -> Result<()> {
    while stream.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}

async fn smtp(mut stream: TcpStream) -> Result<()> {
    stream.write_all(b"220 mx1.example ESMTP ready\r\n").await?;
    let mut line = [0; 256];
    loop {
        let count = stream.read(&mut line).await?;
        match line.get(..4) {
            _ if count == 0 => return Ok(()),
            Some(b"QUIT") => {
                stream.write_all(b"221 mx1.example closing\r\n").await?;
                return Ok(());
            }
            _ => stream.write_all(b"250-mx1.example\r\n250-SIZE 52428800\r\n250 PIPELINING\r\n").await?,
        }
    }
}

fn server_config() -> Result<Arc<rustls::ServerConfig>> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["mx1.example".to_owned()])?.self_signed(&key)?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(Arc::new(config))
}

async fn handshake(mut stream: TcpStream, config: Arc<rustls::ServerConfig>) -> Result<()> {
    let mut tls = rustls::ServerConnection::new(config)?;
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)?;
            tls.process_new_packets()?;
        }
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out)?;
        }
        stream.write_all(&out).await?;
    }
}

/// A process of ours that answers lines; it ends with its input.
struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Helper {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, input, output })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "a process of the bench has ended");
        Ok(line)
    }

    fn ask(&mut self) -> Result<Vec<u64>> {
        self.input.as_mut().context("no input")?.write_all(b"\n")?;
        Ok(self.line()?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.input.take());
        _ = self.child.wait();
    }
}

/// CPU time of a process so far, all its threads.
fn cpu(process: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let nanos = text.split_whitespace().next().context("an empty schedstat")?;
        total += Duration::from_nanos(nanos.parse()?);
    }
    Ok(total)
}

struct Plan {
    window: Duration,
    rounds: usize,
    targets: u16,
    loads: Vec<Load>,
}

impl Plan {
    fn of(arguments: &[String]) -> Result<Self> {
        let mut plan = Self { window: Duration::from_secs(20), rounds: 2, targets: 10_000, loads: Vec::new() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a number"));
            match word.as_str() {
                "--seconds" => plan.window = Duration::from_secs(value()?.parse()?),
                "--rounds" => plan.rounds = value()?.parse()?,
                "--targets" => plan.targets = value()?.parse()?,
                load => plan.loads.push(Load::named(load)?),
            }
        }
        if plan.loads.is_empty() {
            plan.loads = vec![Load::Tcp, Load::Smtp, Load::Mix];
        }
        Ok(plan)
    }
}

fn measure(arguments: &[String]) -> Result<()> {
    let plan = Plan::of(arguments)?;
    own_network()?;
    let mut responder = Helper::start(&["respond"])?;
    responder.line()?;
    println!("{} targets, each asked every {INTERVAL:?}; {:?} a measurement", plan.targets, plan.window);
    for load in &plan.loads {
        let mut shares: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for _ in 0..plan.rounds {
            shares.entry("lbd").or_default().push(lbd(*load, &plan, &mut responder)?);
            if *load != Load::Mix {
                shares.entry("HAProxy").or_default().push(haproxy(*load, &plan, &mut responder)?);
            }
        }
        let mean = |name| shares.get(name).map(|of| of.iter().sum::<f64>() / of.len() as f64);
        if let (Some(ours), Some(theirs)) = (mean("lbd"), mean("HAProxy")) {
            println!("{:5} lbd takes {:.2} of what HAProxy takes", load.name(), ours / theirs);
        }
    }
    Ok(())
}

/// Measures a prober in its rhythm; its share of one core.
fn window(name: &str, load: Load, plan: &Plan, process: u32, responder: &mut Helper) -> Result<f64> {
    std::thread::sleep(WARM_UP);
    let (before, at, connections) = (cpu(process)?, Instant::now(), responder.ask()?);
    std::thread::sleep(plan.window);
    let (after, took, total) = (cpu(process)?, at.elapsed(), responder.ask()?);
    let share = (after - before).as_secs_f64() / took.as_secs_f64();
    let connections = total.first().zip(connections.first()).map_or(0, |(after, before)| after - before);
    println!(
        "{:5} {name:8} {:5.1} % of a core, {:.0} connections/s",
        load.name(),
        share * 100.0,
        connections as f64 / took.as_secs_f64()
    );
    Ok(share)
}

fn lbd(load: Load, plan: &Plan, responder: &mut Helper) -> Result<f64> {
    let mut prober = Helper::start(&["probe", load.name(), &plan.targets.to_string()])?;
    let share = window("lbd", load, plan, prober.child.id(), responder)?;
    if let [good, failed, put_off, p50, p99, max] = prober.ask()?[..] {
        println!(
            "      {good} succeeded, {failed} failed, {put_off} put off; lateness p50 {p50} µs, p99 {p99} µs, max {max} µs"
        );
    }
    Ok(share)
}

fn haproxy(load: Load, plan: &Plan, responder: &mut Helper) -> Result<f64> {
    let (check, port) = match load {
        Load::Smtp => ("option smtpchk EHLO lbd-probe.invalid", SMTP),
        _ => ("option tcp-check", TCP),
    };
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  \
         timeout server 1s\n  timeout check 1s\nbackend bench\n  {check}\n"
    );
    for number in 0..plan.targets {
        text += &format!("  server s{number} {}:{port} check inter {}ms\n", address(number), INTERVAL.as_millis());
    }
    let path = PathBuf::from(format!("/tmp/lbd-bench-haproxy-{}.cfg", std::process::id()));
    std::fs::write(&path, text)?;
    let started = Command::new("haproxy")
        .args(["-db", "-q", "-f"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("haproxy cannot be started: tools/setup.sh bench");
    let result = started.and_then(|mut child| {
        let share = window("HAProxy", load, plan, child.id(), responder);
        child.kill()?;
        child.wait()?;
        share
    });
    std::fs::remove_file(&path)?;
    result
}

/// A network namespace with nothing but its loopback.
fn own_network() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).context("a network namespace: are you root?")?;
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    ensure!(status.success(), "ip link set lo up");
    Ok(())
}
