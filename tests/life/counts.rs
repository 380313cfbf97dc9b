//! Counts of connections are exact: against the table, and in NAT against the servers' own sockets.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::conf::Conf;
use super::peer::Peer;
use super::stage::{Stage, address};

const PORT: u16 = 2000;
const WORKERS: usize = 16;
const SERVERS: [&str; 2] = ["pc1", "pc2"];

/// How a connection goes.
#[derive(Clone, Copy, Debug)]
enum Way {
    ClientCloses,
    ClientResets,
    ServerCloses,
    ServerResets,
    ServerClosesHalf,
    BothClose,
    ClientGivesUpAtOnce,
    ClosedPort,
    Stays,
    StaysHalfClosedByTheClient,
}

const WAYS: [Way; 10] = [
    Way::ClientCloses,
    Way::ClientResets,
    Way::ServerCloses,
    Way::ServerResets,
    Way::ServerClosesHalf,
    Way::BothClose,
    Way::ClientGivesUpAtOnce,
    Way::ClosedPort,
    Way::Stays,
    Way::StaysHalfClosedByTheClient,
];

/// Most connections that are kept of each kind that stays.
const KEPT_MAX: usize = 60;

#[derive(Default)]
struct Kept {
    open: Vec<TcpStream>,
    half: Vec<TcpStream>,
    /// Connections begun, those that were refused included.
    begun: u64,
}

fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

async fn go(way: Way, open: SocketAddr, closed: SocketAddr, kept: &Mutex<Kept>) -> io::Result<()> {
    kept.lock().unwrap().begun += 1;
    if let Way::ClosedPort = way {
        let refused = TcpStream::connect(closed).await;
        assert!(refused.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused));
        return Ok(());
    }
    let stream = TcpStream::connect(open).await?;
    stream.set_nodelay(true)?;
    if let Way::ClientGivesUpAtOnce = way {
        return reset(&stream);
    }
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    stream.write_all(b"a word\n").await?;
    line.clear();
    stream.read_line(&mut line).await?;
    assert_eq!(line, "a word\n");
    let mut rest = Vec::new();
    match way {
        Way::ClientCloses => {
            stream.shutdown().await?;
            stream.read_to_end(&mut rest).await?;
        }
        Way::ClientResets => reset(stream.get_ref())?,
        Way::ServerCloses => {
            stream.write_all(b"close\n").await?;
            stream.read_to_end(&mut rest).await?;
        }
        Way::ServerResets => {
            stream.write_all(b"reset\n").await?;
            let end = stream.read_to_end(&mut rest).await;
            assert!(end.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset));
        }
        Way::ServerClosesHalf => {
            stream.write_all(b"half\n").await?;
            stream.read_to_end(&mut rest).await?;
            stream.write_all(b"close\n").await?;
        }
        Way::BothClose => {
            stream.write_all(b"close\n").await?;
            stream.shutdown().await?;
            stream.read_to_end(&mut rest).await?;
        }
        Way::Stays => {
            let mut kept = kept.lock().unwrap();
            if kept.open.len() < KEPT_MAX {
                kept.open.push(stream.into_inner());
            }
        }
        Way::StaysHalfClosedByTheClient => {
            // The server has said "half", and so does not close when the client does.
            stream.write_all(b"half\n").await?;
            stream.read_to_end(&mut rest).await?;
            let mut kept = kept.lock().unwrap();
            if kept.half.len() < KEPT_MAX {
                kept.half.push(stream.into_inner());
            }
        }
        Way::ClosedPort | Way::ClientGivesUpAtOnce => {}
    }
    Ok(())
}

async fn churn(ways: &[Way], time: Duration, open: SocketAddr, closed: SocketAddr, kept: Arc<Mutex<Kept>>) {
    let end = Instant::now() + time;
    let workers = (0..WORKERS).map(|worker| {
        let kept = kept.clone();
        async move {
            let mut turn = worker;
            while Instant::now() < end {
                let way = ways[turn % ways.len()];
                go(way, open, closed, &kept).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
                turn += 1;
            }
        }
    });
    futures_util::future::join_all(workers).await;
}

fn conf(mode: &str) -> Conf {
    let service = |port: u16| {
        format!(
            "port: {port}, pool: {}, mode: {mode}, timeouts: {{embryonic: 1s, closing: 30s, closed: 1s}}",
            if port == PORT { "peer" } else { "shut" }
        )
    };
    Conf::new(2)
        .pool("peer", "members: [pc1, pc2], scheduler: least-connections")
        .pool("shut", "members: [pc1, pc2], scheduler: round-robin")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "peer", &service(PORT))
        .service("v", "shut", &service(PORT + 1))
}

#[test]
fn in_nat_the_counts_are_those_of_the_servers_own_sockets_at_every_quiet_moment() {
    let stage = Stage::new(2, &conf("nat"));
    let _peers: Vec<Peer> = SERVERS.iter().map(|pc| Peer::start(stage.host(pc), PORT)).collect();
    let kept = Arc::new(Mutex::new(Kept::default()));
    let [open, closed] = ["192.0.2.25:2000", "192.0.2.25:2001"].map(address);
    for turn in 0..3 {
        let theirs = kept.clone();
        stage.client().block_on(move || churn(&WAYS, Duration::from_secs(2), open, closed, theirs)).unwrap();
        let (open_now, half_now) = {
            let kept = kept.lock().unwrap();
            (kept.open.len() as u64, kept.half.len() as u64)
        };
        assert!(open_now > 0 && half_now > 0);
        // The last FINs are still on their way when the workers are through.
        stage.wait("what is active is what was kept", |s| s.of_service("v/peer", "active") == open_now + half_now);
        stage.wait("nothing is pending", |s| {
            s.of_service("v/peer", "pending") == 0 && s.of_service("v/shut", "pending") == 0
        });
        let state = stage.state();
        let mut sockets = BTreeMap::new();
        for server in SERVERS {
            let established = stage.sockets(server, "established", PORT);
            let half = stage.sockets(server, "fin-wait-2 fin-wait-1 close-wait", PORT);
            let active = state.active("v/peer", server);
            assert_eq!(active, established + half, "turn {turn}, {server}: {established} open and {half} half closed");
            assert_eq!(active, stage.api().live("v/peer", server, false), "turn {turn}, {server}: the table");
            assert_eq!(active, state.of_server(server), "turn {turn}, {server}: over all services");
            sockets.insert(server, established);
        }
        assert_eq!(sockets.values().sum::<u64>(), open_now, "turn {turn}: {sockets:?}");
        assert_eq!(state.of_service("v/shut", "active"), 0);
        let totals = ["v/peer", "v/shut"].map(|service| {
            let members: u64 = SERVERS.iter().map(|pc| state.total(service, pc)).sum();
            assert_eq!(members, state.of_service(service, "total"));
            members
        });
        let begun = kept.lock().unwrap().begun;
        assert_eq!(totals.iter().sum::<u64>(), begun, "turn {turn}: every connection was counted once: {totals:?}");
    }
    *kept.lock().unwrap() = Kept::default();
    stage.wait("everything has ended", |s| s.of_service("v/peer", "active") == 0);
    for server in SERVERS {
        assert_eq!(stage.sockets(server, "established", PORT), 0);
    }
    stage.wait("the table is empty", |s| s.table("entries") == 0);
    assert_eq!(stage.api().connections(), Vec::<serde_json::Value>::new());
}

#[test]
fn in_dsr_the_count_goes_down_with_the_clients_fin_and_the_totals_add_up() {
    let stage = Stage::new(2, &conf("dsr"));
    let _peers: Vec<Peer> = SERVERS.iter().map(|pc| Peer::start(stage.host(pc), PORT)).collect();
    let [open, closed] = ["192.0.2.25:2000", "192.0.2.25:2001"].map(address);
    let kept = Arc::new(Mutex::new(Kept::default()));
    let theirs = kept.clone();
    // A reset by the server goes past the balancer: such an entry lives until it has been idle for too long.
    let ways: Vec<Way> = WAYS.into_iter().filter(|way| !matches!(way, Way::ServerResets)).collect();
    stage
        .client()
        .block_on(move || async move { churn(&ways, Duration::from_secs(3), open, closed, theirs).await })
        .unwrap();
    let (stays, half) = {
        let mut kept = kept.lock().unwrap();
        (std::mem::take(&mut kept.open), std::mem::take(&mut kept.half))
    };
    // What the server alone has closed still counts: its FIN is not seen.
    let kept_now = (stays.len() + half.len()) as u64;
    stage.wait("what is active is what was kept", |s| {
        s.of_service("v/peer", "active") == kept_now
            && s.of_service("v/peer", "pending") == 0
            && s.of_service("v/shut", "pending") == 0
    });
    let state = stage.state();
    for server in SERVERS {
        let sockets = stage.sockets(server, "established", PORT);
        let half = stage.sockets(server, "fin-wait-2 fin-wait-1", PORT);
        assert_eq!(state.active("v/peer", server), sockets + half, "{server}");
        assert_eq!(state.active("v/peer", server), state.of_server(server), "{server}");
    }
    let total = state.of_service("v/peer", "total") + state.of_service("v/shut", "total");
    assert_eq!(total, kept.lock().unwrap().begun);
    let left = half.len() as u64;
    drop(stays);
    stage.wait("those that the client has closed count no more", |s| s.of_service("v/peer", "active") == left);
    drop(half);
    stage.wait("and the others neither", |s| s.of_service("v/peer", "active") == 0);
}
