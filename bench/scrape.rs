//! What a scrape of `/metrics` costs on a box with 1,000 servers and 1,000 services of ten members each. Needs root.
//!
//! The true daemon on one machine, all the servers on another. Processor time is what the kernel has counted for the daemon (utime and stime of
//! /proc/PID/stat), less what the daemon uses in the same time without scrapes.
//!
//! The box is one of a pair with the fast timers, and sends its heartbeats to a peer that only notes when they come: without
//! scrapes, beside a scrape every half second, and beside scrapes without a pause.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lbd::config::pair::Path as PairPath;
use lbd::lab::balancer::Balancer;
use lbd::lab::pair::record::percentile;
use lbd::lab::pair::{new_key, write_secret};
use lbd::lab::servers::{Kind, Responder};
use lbd::lab::{Host, LabError, Plan, Site, mail};
use lbd::os::realtime::prepare_thread;

const LBD: &str = env!("CARGO_BIN_EXE_lbd");
const BOX: &str = "lb1";
const FAR: &str = "servers";
/// Plays every server's.
const FAR_MAC: &str = "02:00:00:00:00:11";
const PEER: &str = "peer";
const PEER_MAC: &str = "02:00:00:00:01:02";
const SERVERS: u16 = 1_000;
const VIRTUAL_SERVERS: u16 = 100;
const SERVICES_EACH: u16 = 10;
const MEMBERS_EACH: u16 = 10;
const SCRAPES: u32 = 30;
/// Between two scrapes, and as long as what the daemon uses without is measured per scrape.
const PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(120);
/// The promise.
const CPU_MAX: Duration = Duration::from_millis(250);
/// The fast timers: a heartbeat this often, and dead after so long a silence.
const HEARTBEAT: Duration = Duration::from_millis(20);
const DEAD: Duration = Duration::from_millis(100);
/// Beside scrapes no heartbeat is later than this: an owner keeps its lease if the next one is lost, too.
const LATE_MAX: Duration = HEARTBEAT;
/// Ends of the cable between the boxes.
const CABLE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn address(server: u16) -> Ipv4Addr {
    let [high, low] = server.to_be_bytes();
    Ipv4Addr::new(10, 1, 16 + high, low)
}

fn config(key: &Path) -> String {
    let mut text = format!(
        "hostname: lb1\ninterfaces:\n  bridge: br0\n  ports: [p1]\n  mac: \"{}\"\n  inside: [10.1.0.1/16]\npair:\n  peer-mac: \"{PEER_MAC}\"\n  \
         key-file: \"{}\"\n  heartbeat: {}ms\n  dead: {}ms\n  paths:\n    cable: {{local: {}, peer: {}, interface: hb0}}\n\
         servers:\n",
        mail::BALANCER_MAC,
        key.display(),
        HEARTBEAT.as_millis(),
        DEAD.as_millis(),
        CABLE[0],
        CABLE[1],
    );
    for server in 0..SERVERS {
        _ = writeln!(text, "  s{server}: {{address: {}, link: {{port: p1, mac: \"{FAR_MAC}\"}}}}", address(server));
    }
    text += "pools:\n";
    for pool in 0..VIRTUAL_SERVERS {
        let members: Vec<String> =
            (0..MEMBERS_EACH).map(|n| format!("s{}", (pool * MEMBERS_EACH + n) % SERVERS)).collect();
        let check = "check: {type: tcp, port: 7, interval: 5s, timeout: 2s}";
        _ = writeln!(text, "  p{pool}: {{members: [{}], slow-start: 0s, {check}}}", members.join(", "));
    }
    text += "virtual-servers:\n";
    for number in 0..VIRTUAL_SERVERS {
        _ = writeln!(text, "  v{number}:\n    addresses: [198.18.{number}.1]\n    services:");
        for service in 0..SERVICES_EACH {
            _ = writeln!(
                text,
                "      s{service}: {{protocol: tcp, port: {}, pool: p{number}, mode: nat}}",
                1_000 + service
            );
        }
    }
    text
}

fn site() -> Result<Site> {
    let mut plan = Plan::new();
    plan.cable(&format!("{BOX}:p1"), &format!("{FAR}:eth0"));
    for line in [
        "link add br0 type bridge stp_state 0",
        &format!("link set br0 address {}", mail::BALANCER_MAC),
        "link set p1 master br0",
        "link set br0 up",
        "addr add 10.1.0.2/24 dev br0",
        // One neighbour for all: a kernel holds 1,024 of them unless it is told otherwise.
        "route add 10.1.16.0/20 via 10.1.0.3",
    ] {
        plan.ip(BOX, line);
    }
    plan.cable(&format!("{BOX}:hb0"), &format!("{PEER}:hb0"));
    for (name, end) in [BOX, PEER].into_iter().zip(CABLE) {
        plan.address(&format!("{name}:hb0"), &format!("{end}/30"));
    }
    plan.address(&format!("{FAR}:eth0"), "10.1.0.3/24");
    plan.ip(FAR, &format!("link set eth0 address {FAR_MAC}"));
    plan.ip(FAR, "route add local 10.1.16.0/20 dev lo");
    Site::build(&plan).context("two network namespaces: are you root?")
}

fn scrape(host: &Host) -> Result<String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], 8080)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    };
    let reply = host.enter(ask)??;
    ensure!(reply.starts_with("HTTP/1.0 200"), "{}", reply.lines().next().unwrap_or_default());
    Ok(reply)
}

/// What the kernel has counted for a process, proc_pid_stat(5).
fn used(pid: i32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(") ").context("no stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |n: usize| -> Result<u64> { Ok(fields.get(n).context("no stat")?.parse()?) };
    // USER_HZ is 100 wherever lbd runs.
    Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

/// Notes when heartbeats come, on a thread that nothing holds up.
struct Listener {
    came: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<std::io::Result<()>, LabError>>,
}

impl Listener {
    fn start(peer: &Host) -> Self {
        let (came, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (noted, ended) = (came.clone(), stop.clone());
        let thread = peer.spawn(move || {
            for words in prepare_thread() {
                println!("the listener: {words}");
            }
            let socket = UdpSocket::bind((CABLE[1], PairPath::PORT_DEFAULT))?;
            socket.set_read_timeout(Some(PAUSE))?;
            let mut datagram = [0; 2_048];
            while !ended.load(Ordering::Relaxed) {
                if socket.recv(&mut datagram).is_ok() {
                    let now = Instant::now();
                    noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(now);
                }
            }
            Ok(())
        });
        Self { came, stop, thread }
    }

    /// How much later than due each came since it was asked last.
    fn late(&self) -> Result<Vec<Duration>> {
        let came = std::mem::take(&mut *self.came.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        ensure!(came.len() > 100, "{} heartbeats came", came.len());
        let gaps = came.iter().zip(came.iter().skip(1)).map(|(one, next)| *next - *one);
        Ok(gaps.map(|gap| gap.saturating_sub(HEARTBEAT)).collect())
    }

    fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Ok(ended) = self.thread.join() else { anyhow::bail!("the listener has panicked") };
        Ok(ended??)
    }
}

/// Prints how late heartbeats were; the worst.
fn print_late(what: &str, mut late: Vec<Duration>) -> Duration {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let [median, p99, worst] = [50, 99, 100].map(|percent| percentile(&mut late, percent).unwrap_or_default());
    println!(
        "heartbeats, {what:22} {:.2} ms late in the median, {:.2} ms in one of a hundred, at most {:.2} ms, of {}",
        ms(median),
        ms(p99),
        ms(worst),
        late.len()
    );
    worst
}

fn run() -> Result<bool> {
    lbd::lab::process::raise_file_limit()?;
    let site = site()?;
    let _servers = mail::start_server(&site, FAR, Path::new(LBD), &[Responder { kind: Kind::Echo, port: 7 }])?;
    let file = site.dir().join("lb1.yaml");
    let key = site.dir().join("lb1.key");
    write_secret(&key, &new_key()?)?;
    std::fs::write(&file, config(&key))?;
    let listener = Listener::start(site.host(PEER)?);
    let mut balancer = Balancer::start(&site, BOX, Path::new(LBD), &file)?;
    let host = site.host(BOX)?.clone();
    let members = usize::from(VIRTUAL_SERVERS) * usize::from(SERVICES_EACH) * usize::from(MEMBERS_EACH);
    let begun = Instant::now();
    let text = loop {
        balancer.runs()?;
        let text = scrape(&host).unwrap_or_default();
        let up = text.lines().filter(|line| line.starts_with("lbd_member_scheduled{") && line.ends_with(" 1")).count();
        if up == members {
            break text;
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "{up} of {members} members are scheduled\n{}",
            text.get(..500).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_secs(1));
    };
    let series = text.lines().filter(|line| line.starts_with("lbd_")).count();
    let pid = balancer.process().pid();
    listener.late()?;
    let (start, clock) = (used(pid)?, Instant::now());
    std::thread::sleep(PAUSE * SCRAPES);
    let quiet = listener.late()?;
    let idle = (used(pid)? - start).as_secs_f64() / clock.elapsed().as_secs_f64();
    let (start, clock) = (used(pid)?, Instant::now());
    let mut times = Vec::new();
    for _ in 0..SCRAPES {
        let asked = Instant::now();
        scrape(&host)?;
        times.push(asked.elapsed());
        std::thread::sleep(PAUSE);
    }
    let busy = (used(pid)? - start).as_secs_f64() - idle * clock.elapsed().as_secs_f64();
    let beside = listener.late()?;
    let clock = Instant::now();
    while clock.elapsed() < PAUSE * SCRAPES {
        scrape(&host)?;
    }
    let without_pause = listener.late()?;
    listener.end()?;
    let text = scrape(&host)?;
    let pauses = text.lines().find(|line| line.starts_with("lbd_pair_pauses_total")).context("no pair")?;
    let each = Duration::from_secs_f64((busy / f64::from(SCRAPES)).max(0.0));
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let longest = times.last().copied().unwrap_or_default();
    println!("services                {}", VIRTUAL_SERVERS * SERVICES_EACH);
    println!("servers                 {SERVERS}");
    println!("members                 {members}");
    println!("series                  {series}");
    println!("size                    {:.1} MB", text.len() as f64 / 1e6);
    println!(
        "processor time, each    {:.0} ms (promised: at most {:.0} ms)",
        each.as_secs_f64() * 1e3,
        CPU_MAX.as_secs_f64() * 1e3
    );
    println!(
        "answered in, median     {:.0} ms; at most {:.0} ms of {SCRAPES}",
        median.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3
    );
    println!("without scrapes         {:.1} % of a core", idle * 100.0);
    print_late("without scrapes", quiet);
    let late = print_late("a scrape every 0.5 s", beside).max(print_late("scrapes without pause", without_pause));
    println!("{pauses}; promised beside scrapes: no heartbeat later than {} ms", LATE_MAX.as_millis());
    Ok(each <= CPU_MAX && late <= LATE_MAX)
}
