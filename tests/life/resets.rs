//! What a failed server owned is reset, to both its ends, at once, though nobody sends anything.

use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use lbd::lab::Process;
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

use super::conf::{Conf, FALL, INTERVAL_MS, TIMEOUT_MS};
use super::stage::{PATIENCE, Stage, address, customer_address};

/// What talks; the checks ask port 7, which another process serves.
const PORT: u16 = 2525;
/// NAT, DSR and full NAT.
const FOUR: [&str; 3] = ["192.0.2.25:2525", "192.0.2.110:2525", "192.0.2.80:2525"];
const SIX: [&str; 3] = ["[2001:db8::25]:2525", "[2001:db8::110]:2525", "[2001:db8::80]:2525"];
/// Promised: one interval times the fall count, and one time-out.
const OUT_WITHIN: Duration = Duration::from_millis(INTERVAL_MS * FALL + TIMEOUT_MS);
/// And from then on.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_millis(1500);

fn conf(more: &str) -> Conf {
    let mut conf = Conf::new(2).pool("echo", &format!("members: [pc1, pc2], scheduler: round-robin{more}"));
    for (name, number, mode) in [("n", 25, "nat"), ("d", 110, "dsr"), ("f", 80, "full-nat")] {
        let addresses = [format!("192.0.2.{number}"), format!("2001:db8::{number}")];
        conf = conf.virtual_server(name, &[&addresses[0], &addresses[1]]).service(
            name,
            "echo",
            &format!("port: {PORT}, pool: echo, mode: {mode}"),
        );
    }
    conf
}

/// The stage, and on both PCs a server that can be stopped without its checks' noticing.
fn stage(more: &str) -> (Stage, [Process; 2]) {
    let stage = Stage::new(2, &conf(more));
    let servers = ["pc1", "pc2"].map(|pc| stage.serve_apart(pc, PORT));
    (stage, servers)
}

/// Connections of pc1 that were reset, as the log tells.
fn reset_by_log(stage: &Stage) -> usize {
    let log = stage.log();
    let told = log.lines().filter_map(|line| line.split_once(" pc1: ")?.1.split_once(" connections reset"));
    told.map(|(count, _)| count.parse::<usize>().unwrap()).sum()
}

/// A customer who reads, and is silent.
struct Reader {
    server: String,
    end: Receiver<(Instant, io::Result<usize>)>,
}

impl Reader {
    fn open(stage: &Stage, target: &str) -> Self {
        let (told, heard) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let target: SocketAddr = address(target);
        drop(stage.client().spawn(move || {
            let stream = TcpStream::connect_timeout(&target, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            told.send(line.split(' ').next().unwrap_or_default().to_owned()).unwrap();
            line.clear();
            let result = stream.read_line(&mut line);
            // The test may have had enough of it.
            let _ = ended.send((Instant::now(), result));
        }));
        Self { server: heard.recv_timeout(PATIENCE).unwrap(), end }
    }
}

#[test]
fn silent_customers_of_a_hung_server_are_told_in_time_and_so_is_the_server() {
    let (mut stage, servers) = stage("");
    let mut readers: Vec<(&str, Reader)> = vec![];
    for target in FOUR.iter().chain(&SIX) {
        readers.extend((0..6).map(|_| (*target, Reader::open(&stage, target))));
    }
    let on = |pc: &str| readers.iter().filter(|(_, reader)| reader.server == pc).count();
    assert_eq!((on("pc1"), on("pc2")), (18, 18));
    assert_eq!(stage.sockets("pc1", "established", PORT), 18);

    servers[0].signal(Signal::SIGSTOP).unwrap();
    let hung = Instant::now();
    stage.kill_server("pc1"); // what its checks ask
    stage.wait("pc1 is down", |s| ["n", "d", "f"].iter().all(|v| s.health(&format!("{v}/echo"), "pc1") == "down"));
    let out = Instant::now();
    let mut latest = Duration::ZERO;
    for (target, reader) in readers.iter().filter(|(_, reader)| reader.server == "pc1") {
        let (when, result) = reader.end.recv_timeout(PATIENCE).unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{target}");
        assert!(when - hung < OUT_WITHIN + TOLD_WITHIN + SLACK, "{target}: {:?}", when - hung);
        latest = latest.max(when.saturating_duration_since(out));
    }
    assert!(latest < TOLD_WITHIN, "the last was told {latest:?} after it was known");
    // The server hangs, its kernel does not: in NAT its sockets are reset, too. In DSR the other half is not known.
    stage.wait("in NAT the server was told", |_| stage.sockets("pc1", "established", PORT) == 6);
    for (target, reader) in readers.iter().filter(|(_, reader)| reader.server == "pc2") {
        assert!(reader.end.try_recv().is_err(), "{target}: nobody else was told anything");
    }
    stage.wait("nothing is left on it", |s| s.of_server("pc1") == 0);
    // One walk or several: its services do not all notice in the same moment.
    stage.wait("the log says how many", |_| reset_by_log(&stage) == 18);
}

#[test]
fn nobody_is_told_where_connections_are_kept_and_they_go_on_when_the_server_does() {
    let (mut stage, servers) = stage(", on-failure: keep");
    let readers: Vec<Reader> = FOUR.iter().flat_map(|target| (0..2).map(|_| Reader::open(&stage, target))).collect();
    servers[0].signal(Signal::SIGSTOP).unwrap();
    stage.kill_server("pc1");
    stage.wait("pc1 is down", |s| ["n", "d", "f"].iter().all(|v| s.health(&format!("{v}/echo"), "pc1") == "down"));
    std::thread::sleep(TOLD_WITHIN * 2);
    for reader in &readers {
        assert!(reader.end.try_recv().is_err(), "{}: nothing was sent", reader.server);
    }
    assert_eq!((stage.sockets("pc1", "established", PORT), stage.state().of_server("pc1")), (3, 3));
}

#[test]
fn a_server_that_the_operator_disables_loses_its_connections_at_once() {
    let (stage, _servers) = stage("");
    let readers: Vec<Reader> = FOUR.iter().flat_map(|target| (0..2).map(|_| Reader::open(&stage, target))).collect();
    let before = Instant::now();
    stage.api().set("pc1", "disabled");
    for reader in readers.iter().filter(|reader| reader.server == "pc1") {
        let (when, result) = reader.end.recv_timeout(PATIENCE).unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(when - before < TOLD_WITHIN + SLACK, "{:?}", when - before);
    }
    stage.wait("nothing is left on it", |s| s.of_server("pc1") == 0 && s.of_server("pc2") == 3);
}

/// What a process of `hold` shall do: target, number, and its first address of the client.
const HOLD: &str = "LBD_TEST_HOLD";

/// Opens connections, is silent, and tells how many were reset when all have ended.
fn hold_connections(order: &str) {
    lbd::lab::process::raise_file_limit().unwrap();
    let mut words = order.split(' ');
    let target: SocketAddr = address(words.next().unwrap());
    let [count, first] = [0, 1].map(|_| words.next().unwrap().parse::<usize>().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connect = |n: usize| async move {
            let socket = TcpSocket::new_v4().unwrap();
            let from: IpAddr = customer_address(first + n % 2);
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            socket.connect(target).await.unwrap()
        };
        let streams: Vec<_> = stream::iter(0..count).map(connect).buffer_unordered(256).collect().await;
        println!("open");
        let reads = streams.into_iter().map(|mut stream| async move { stream.read(&mut [0]).await });
        let results: Vec<_> = stream::iter(reads).buffer_unordered(count).collect().await;
        let reset = |r: &&io::Result<usize>| matches!(r, Err(e) if e.kind() == io::ErrorKind::ConnectionReset);
        println!("reset {}", results.iter().filter(reset).count());
    });
}

const TWENTY_THOUSAND: &str = "resets::twenty_thousand_connections_are_reset_within_two_seconds";

/// A process for that, because one process may have too few sockets, and the lines that it says; what the test harness
/// says is none of them.
fn hold(stage: &Stage, target: &str, count: usize, first: usize) -> (Process, Receiver<(Instant, String)>) {
    let mut command = stage.client().command(std::env::current_exe().unwrap());
    // The one test that looks for such an order.
    command.args(["--exact", TWENTY_THOUSAND, "--nocapture"]);
    command.env(HOLD, format!("{target} {count} {first}")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = stage.client().start(command).unwrap();
    let output = BufReader::new(process.take_stdout().unwrap());
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if (line == "open" || line.starts_with("reset ")) && told.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    (process, heard)
}

/// Two frames each, 50,000 a second at the most: 0.8 s for the frames. The server hangs from the beginning: its
/// kernel takes the connections, and it never does.
#[test]
fn twenty_thousand_connections_are_reset_within_two_seconds() {
    const EACH: usize = 10_000;
    const WITHIN: Duration = Duration::from_secs(2);
    if let Ok(order) = std::env::var(HOLD) {
        return hold_connections(&order);
    }
    let stage = Stage::new(2, &conf(""));
    stage.api().set("pc2", "draining");
    for key in ["net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"] {
        stage.host("pc1").sysctl(key, "40000").unwrap();
    }
    let _hung = stage.host("pc1").enter(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([0, 0, 0, 0], PORT)).into()).unwrap();
        socket.listen(40_000).unwrap();
        socket
    });
    let holders = [0, 2].map(|first| hold(&stage, FOUR[0], EACH, first));
    for (_, lines) in &holders {
        assert_eq!(lines.recv_timeout(Duration::from_secs(120)).unwrap().1, "open");
    }
    stage.wait("all are established", |s| s.active("n/echo", "pc1") == 2 * EACH as u64);
    assert_eq!(stage.sockets("pc1", "established", PORT), 2 * EACH as u64);
    let before = Instant::now();
    assert_eq!(stage.api().admin("pc1", "disabled", true).status, 200);
    for (_, lines) in &holders {
        let (when, line) = lines.recv_timeout(PATIENCE).unwrap();
        println!("{line} of {EACH} after {:?}", when - before);
        assert_eq!(line, format!("reset {EACH}"));
        assert!(when - before < WITHIN + SLACK, "{:?}", when - before);
    }
    stage.wait("none is left", |s| s.of_server("pc1") == 0);
    stage.wait("the server was told", |_| stage.sockets("pc1", "established", PORT) == 0);
    stage.wait("the log says how many", |_| reset_by_log(&stage) == 2 * EACH);
}
