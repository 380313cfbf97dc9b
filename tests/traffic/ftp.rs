//! FTP through the balancer: control, passive and active data connections, of real sockets at both ends.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lbd::lab::mail::{self, CLIENT};
use lbd::lab::{Host, LabError};
use socket2::{Domain, Socket, Type};

use super::stage::{Mode, Stage, interfaces, ways};

const PATIENCE: Duration = Duration::from_secs(20);
/// Of a file, behind the name of its server.
const FILE: usize = 300_000;
const PASSIVE: std::ops::Range<u16> = 50_000..50_100;

fn line_of(control: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    control.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// An FTP server (RFC 959, RFC 2428) as far as it must be one: it announces the ports of its passive range,
/// and calls clients back from port 20 of the address at which they have called it.
struct Server {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), LabError>>,
}

impl Server {
    fn start(host: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, name) = (stop.clone(), host.name().to_owned());
        let (told, heard) = std::sync::mpsc::channel();
        let thread = host.spawn(move || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 21)).unwrap();
            listener.set_nonblocking(true).unwrap();
            told.send(()).unwrap();
            let mut sessions = vec![];
            while !theirs.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((control, _)) => {
                        let name = name.clone();
                        control.set_nonblocking(false).unwrap();
                        // The namespace of a thread is its parent's.
                        sessions.push(std::thread::spawn(move || session(patient(control)?, &name)));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
            for session in sessions {
                session.join().unwrap().unwrap();
            }
        });
        heard.recv_timeout(PATIENCE).unwrap();
        Self { stop, thread }
    }

    /// Waits for its sessions, none of which may have failed.
    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
    }
}

fn session(control: TcpStream, name: &str) -> io::Result<()> {
    let own = control.local_addr()?.ip();
    let mut control = BufReader::new(control);
    let (mut passive, mut active) = (None, None);
    let mut say = control.get_ref().try_clone()?;
    say.write_all(format!("220 {name}\r\n").as_bytes())?;
    loop {
        let line = line_of(&mut control)?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match verb {
            "EPSV" => {
                let bound = PASSIVE.filter_map(|port| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).ok()).next();
                let port = bound.as_ref().unwrap().local_addr()?.port();
                passive = bound;
                format!("229 here (|||{port}|)")
            }
            "EPRT" => {
                let words: Vec<&str> = rest.split('|').collect();
                active = Some(SocketAddr::new(words[2].parse().unwrap(), words[3].parse().unwrap()));
                "200 as you say".to_owned()
            }
            "RETR" | "STOR" => {
                let mut data = match (passive.take(), active.take()) {
                    (Some(listener), _) => patient(listener.accept()?.0)?,
                    // As RFC 959 has it (3.3). A dual-stack listener names IPv4 peers as IPv6 ones.
                    (None, Some(client)) => patient(connect(SocketAddr::new(own.to_canonical(), 20), client)?)?,
                    (None, None) => panic!("no data connection: {line}"),
                };
                if verb == "RETR" {
                    data.write_all(&file(name))?;
                    drop(data);
                    "226 sent".to_owned()
                } else {
                    let mut bytes = vec![];
                    data.read_to_end(&mut bytes)?;
                    format!("226 {} bytes at {name}", bytes.len())
                }
            }
            "QUIT" | "" => return say.write_all(b"221 bye\r\n"),
            other => panic!("{other}?"),
        };
        say.write_all(format!("{answer}\r\n").as_bytes())?;
    }
}

fn connect(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

fn file(name: &str) -> Vec<u8> {
    let mut bytes = format!("{name}:").into_bytes();
    bytes.extend((0..FILE).map(|i| (i * i % 251) as u8));
    bytes
}

/// A customer's session; the name of its server.
struct Client {
    control: BufReader<TcpStream>,
    target: SocketAddr,
    server: String,
}

impl Client {
    fn login(from: IpAddr, target: SocketAddr) -> io::Result<Self> {
        let mut control = BufReader::new(patient(connect(SocketAddr::new(from, 0), target)?)?);
        let server = line_of(&mut control)?.strip_prefix("220 ").unwrap_or_default().to_owned();
        Ok(Self { control, target, server })
    }

    fn order(&mut self, line: &str) -> io::Result<String> {
        self.control.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        line_of(&mut self.control)
    }

    /// One transfer: `verb` over a passive or an active data connection.
    fn transfer(&mut self, verb: &str, is_active: bool) -> io::Result<()> {
        let what = format!("{verb} from {} active: {is_active}", self.target);
        let mut data = if is_active {
            let own = self.control.get_ref().local_addr()?.ip();
            let listener = TcpListener::bind((own, 0))?;
            let family = if own.is_ipv4() { 1 } else { 2 };
            let port = listener.local_addr()?.port();
            assert!(self.order(&format!("EPRT |{family}|{own}|{port}|"))?.starts_with("200 "), "{what}");
            self.control.get_mut().write_all(format!("{verb} file\r\n").as_bytes())?;
            let (data, from) = listener.accept()?;
            assert_eq!(from, SocketAddr::new(self.target.ip(), 20), "{what}: whom the client believes to call");
            data
        } else {
            let answer = self.order("EPSV")?;
            let port = answer.split('|').nth(3).unwrap_or_default().parse().unwrap();
            self.control.get_mut().write_all(format!("{verb} file\r\n").as_bytes())?;
            let own = self.control.get_ref().local_addr()?.ip();
            connect(SocketAddr::new(own, 0), SocketAddr::new(self.target.ip(), port))?
        };
        data = patient(data)?;
        if verb == "RETR" {
            let mut bytes = vec![];
            data.read_to_end(&mut bytes)?;
            assert!(bytes == file(&self.server), "{what}: {} bytes, of the session's server", bytes.len());
            assert_eq!(line_of(&mut self.control)?, "226 sent", "{what}");
        } else {
            data.write_all(&file("a customer"))?;
            drop(data);
            let told = line_of(&mut self.control)?;
            assert_eq!(told, format!("226 {} bytes at {}", file("a customer").len(), self.server), "{what}");
        }
        Ok(())
    }
}

fn conf(scheduler: &str) -> String {
    let mut text = interfaces(2, "auto") + "servers:\n";
    for n in 1..=2 {
        let (four, six) = (mail::pc_address(n), mail::pc_address6(n));
        text += &format!("  pc{n}: {{address: {four}, address6: \"{six}\"}}\n");
    }
    text += &format!(
        "pools:\n  ftp:\n    profile: ftp\n    members: [pc1, pc2]\n    scheduler: {scheduler}\n    slow-start: 0s\n    \
         check: {{type: tcp, port: 7, interval: 300ms, timeout: 300ms, rise: 1, fall: 10}}\nvirtual-servers:\n"
    );
    for mode in Mode::ALL {
        let (word, four, six) = (mode.word(), mode.vip(false), mode.vip(true));
        text += &format!(
            "  {word}:\n    addresses: [{four}, \"{six}\"]\n    services:\n      ftp: {{pool: ftp, mode: {word}, \
             passive: {}-{}}}\n",
            PASSIVE.start,
            PASSIVE.end - 1
        );
    }
    text
}

/// Round robin has nothing but persistence to bring the connections of a session together.
#[test]
fn files_come_and_go_over_passive_and_active_data_connections() {
    let stage = Stage::bare(&mail::plan(2), &[1, 2]);
    let servers = ["pc1", "pc2"].map(|pc| Server::start(stage.host(pc)));
    let stage = stage.balance(&conf("round-robin"), 12);
    for (mode, v6) in ways() {
        let mut seen = BTreeSet::new();
        for from in mail::customers(v6).into_iter().take(2) {
            let target = mode.at(v6, 21);
            let server = stage.host(CLIENT).enter(move || {
                let mut client = Client::login(from, target)?;
                // In full NAT a server sees the balancer's address, which is not the one that it is to call.
                for is_active in [false, true].into_iter().filter(|is_active| !is_active || mode != Mode::FullNat) {
                    for verb in ["RETR", "STOR", "RETR"] {
                        client.transfer(verb, is_active)?;
                    }
                }
                assert_eq!(client.order("QUIT")?, "221 bye");
                Ok::<_, io::Error>(client.server)
            });
            seen.insert(server.unwrap().unwrap_or_else(|error| panic!("{mode:?} {v6}: {error}\n{}", stage.log())));
        }
        // Persistence takes one IPv6 network of 64 bits for one client.
        assert_eq!(seen.len(), if v6 { 1 } else { 2 }, "{mode:?} {v6}: all of a session is at one server");
    }
    assert_eq!(stage.count("passed/opened"), 12, "{:?}", stage.counts());
    servers.into_iter().for_each(Server::end);
    stage.end(&[]);
}
