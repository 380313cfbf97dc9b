//! The lab's servers, spoken to as real clients speak. Needs root, for a network of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use lbd::lab::mail::start_server;
use lbd::lab::servers::Kind;
use lbd::lab::{Host, Plan, Process, Site};

/// One host with every server, and nothing but its loopback.
fn pc9() -> (Process, Host, Site) {
    let mut plan = Plan::new();
    plan.ip("pc9", "addr add 192.0.2.99/32 dev lo");
    let site = Site::build(&plan).unwrap();
    let process = start_server(&site, "pc9", Path::new(env!("CARGO_BIN_EXE_lbd")), &[]).unwrap();
    let host = site.host("pc9").unwrap().clone();
    (process, host, site)
}

fn connect(kind: Kind) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", kind.default_port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    BufReader::new(stream)
}

/// `> ` is said, `< ` is heard: the beginning of a line.
fn play(kind: Kind, script: &str) {
    let mut server = connect(kind);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(say) = line.strip_prefix("> ") {
            write!(server.get_mut(), "{say}\r\n").unwrap();
        } else {
            let mut heard = String::new();
            server.read_line(&mut heard).unwrap();
            assert!(heard.starts_with(line.trim_start_matches('<').trim_start()), "{kind}: {line} but {heard:?}");
        }
    }
    let mut rest = String::new();
    server.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "{kind} closes after the goodbye");
}

#[test]
fn mail_protocols_hold_whole_conversations() {
    let (_process, host, _site) = pc9();
    host.enter(|| {
        play(
            Kind::Smtp,
            "< 220 pc9.
            > RCPT TO:<bob@example.org>
            < 503
            > EHLO client.example
            < 250-pc9.
            < 250-PIPELINING
            < 250-8BITMIME
            < 250 SIZE
            > DATA
            < 503
            > MAIL FROM:<alice@example.org>
            < 250
            > RCPT TO:<bob@example.org>
            < 250
            > DATA
            < 354
            > Subject: hello
            > .
            < 250 2.0.0 pc9 took 16 bytes
            > TURN
            < 500
            > QUIT
            < 221",
        );
        play(
            Kind::Pop3,
            "< +OK pc9.
            > STAT
            < -ERR
            > USER alice
            < +OK
            > PASS secret
            < +OK
            > STAT
            < +OK 1
            > RETR 1
            < +OK
            < From: postmaster@pc9.
            < Subject: Served by pc9
            <
            < Good day.
            < .
            > QUIT
            < +OK",
        );
        play(
            Kind::Imap,
            "< * OK pc9.
            > a1 CAPABILITY
            < * CAPABILITY IMAP4rev1 IDLE
            < a1 OK
            > a2 LOGIN alice secret
            < a2 OK
            > a3 SELECT INBOX
            < * 0 EXISTS
            < * 0 RECENT
            < * FLAGS
            < * OK [UIDVALIDITY
            < a3 OK
            > a4 IDLE
            < + idling
            > DONE
            < a4 OK
            > a5 FLY
            < a5 BAD
            > a6 LOGOUT
            < * BYE
            < a6 OK",
        );
    })
    .unwrap();
}

#[test]
fn the_echo_returns_lines_with_their_md5_and_datagrams_behind_the_name() {
    let (_process, host, _site) = pc9();
    host.enter(|| {
        let mut server = connect(Kind::Echo);
        let mut line = String::new();
        server.read_line(&mut line).unwrap();
        assert_eq!(line, "pc9 echo, to 127.0.0.1\r\n");
        server.get_mut().write_all(b"hello\r\n").unwrap();
        line.clear();
        server.read_line(&mut line).unwrap();
        assert_eq!(line, "5d41402abc4b2a76b9719d911017c592 hello\r\n");

        // The answer comes from the address that was asked, as a connected socket insists.
        for server in ["127.0.0.1:7", "192.0.2.99:7", "[::1]:7"] {
            let server: SocketAddr = server.parse().unwrap();
            let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(server).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let question = [b'x'; 30_000];
            socket.send(&question).unwrap();
            let mut answer = vec![0; 65_535];
            let length = socket.recv(&mut answer).unwrap();
            assert_eq!(answer[..length], [b"pc9 ", question.as_slice()].concat());
        }
    })
    .unwrap();
}

#[test]
fn a_line_without_an_end_and_a_body_without_a_length_end_the_conversation_and_not_the_server() {
    let (_process, host, _site) = pc9();
    host.enter(|| {
        for kind in [Kind::Smtp, Kind::Pop3, Kind::Imap, Kind::Http, Kind::Echo] {
            let mut server = connect(kind);
            // The server may close under way.
            let _ = server.get_mut().write_all(&[b'x'; 100_000]);
            let mut heard = Vec::new();
            let _ = server.read_to_end(&mut heard);
            assert!(heard.len() < 1_000, "{kind} says {} bytes", heard.len());
        }
        let mut server = connect(Kind::Http);
        server.get_mut().write_all(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).unwrap();
        assert!(heard.starts_with("HTTP/1.1 411 "), "{heard}");
        play(Kind::Smtp, "< 220\n> QUIT\n< 221");
    })
    .unwrap();
}

#[test]
fn curl_fetches_the_page_and_sends_a_body() {
    let (_process, host, site) = pc9();
    let curl = |args: &[&str]| {
        let output = host.command("curl").args(["-sS", "--max-time", "10"]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(curl(&["http://127.0.0.1/"]).contains("Served by pc9"));
    assert!(curl(&["-I", "http://[::1]/"]).contains("Server: pc9"));
    let body = site.dir().join("body");
    std::fs::write(&body, vec![b'a'; 2_000_000]).unwrap();
    let data = format!("@{}", body.display());
    assert_eq!(curl(&["--data-binary", &data, "http://127.0.0.1/"]), "2a915e52d86d42e58e580f4073120a6b\n");
}
