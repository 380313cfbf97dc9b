//! The log at other places: Debian's rsyslog takes it by UDP, TCP and TLS; one that hangs costs nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lbd::lab::Process;
use lbd::lab::mail::ROUTER;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

use super::conf::echo;
use super::stage::{LBD, PATIENCE, Stage, until};

/// What the balancer's connections come from.
const SOURCE: &str = "192.0.2.2";
/// Longer than the longest pause between two attempts to connect.
const RECONNECT: Duration = Duration::from_secs(90);

/// A line of the collector: way | from | priority | time | host | program | process | event | data | words.
const TEMPLATE: &str = "%inputname%|%fromhost-ip%|%pri%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%procid%|\
                        %msgid%|%structured-data%|%msg%\\n";

/// An authority, and a certificate of it for `logs.example.net`.
fn certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["logs.example.net".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    for (name, text) in [("ca", authority.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())] {
        fs::write(dir.join(format!("{name}.pem")), text).unwrap();
    }
}

/// rsyslogd on the router, which has three addresses.
fn collector(stage: &Stage) -> Process {
    let dir = stage.dir();
    let conf = format!(
        "global(workDirectory=\"{dir}\" DefaultNetstreamDriverCAFile=\"{dir}/ca.pem\" \
         DefaultNetstreamDriverCertFile=\"{dir}/cert.pem\" DefaultNetstreamDriverKeyFile=\"{dir}/key.pem\")\n\
         module(load=\"imudp\")\ninput(type=\"imudp\" port=\"514\" name=\"udp\")\n\
         module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"601\" name=\"tcp\")\n\
         input(type=\"imtcp\" port=\"6514\" name=\"tls\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" \
         StreamDriver.AuthMode=\"anon\")\n\
         template(name=\"t\" type=\"string\" string=\"{TEMPLATE}\")\n\
         action(type=\"omfile\" file=\"{dir}/collected\" template=\"t\")\n",
        dir = dir.display()
    );
    fs::write(dir.join("rsyslog.conf"), conf).unwrap();
    let output = fs::File::create(dir.join("rsyslog.log")).unwrap();
    let mut command = stage.host(ROUTER).command("rsyslogd");
    command.arg("-n").arg("-f").arg(dir.join("rsyslog.conf")).arg("-i").arg(dir.join("rsyslog.pid"));
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let collector = stage.site.start(ROUTER, command).expect("rsyslogd; `tools/setup.sh test` installs it");
    until("rsyslogd listens", || {
        let sockets = stage.run(ROUTER, "ss", &["-Hltun"]);
        let missing = [":514 ", ":601 ", ":6514 "].iter().any(|port| !sockets.contains(port));
        assert!(dir.join("rsyslog.conf").exists());
        !missing
    });
    collector
}

fn collected(stage: &Stage) -> Vec<Vec<String>> {
    let text = fs::read_to_string(stage.dir().join("collected")).unwrap_or_default();
    text.lines().map(|line| line.splitn(10, '|').map(str::to_owned).collect()).collect()
}

fn logging(stage: &Stage) -> Value {
    stage.state().0["logging"].clone()
}

fn server(stage: &Stage, at: &str) -> Value {
    let servers = logging(stage)["servers"].as_array().unwrap().clone();
    servers.into_iter().find(|server| server["address"] == at).unwrap_or_else(|| panic!("no server {at}"))
}

#[test]
fn rsyslog_understands_every_part_by_udp_tcp_and_tls() {
    let mut stage = Stage::new(2, &echo(2, "nat"));
    certificates(&stage.dir());
    let _collector = collector(&stage);
    let servers = format!(
        "logging: {{source: {SOURCE}, servers: [{{address: 192.0.2.1, facility: local0}}, \
         {{address: 10.1.0.254, transport: tcp, severity: notice}}, \
         {{address: 203.0.113.1, transport: tls, ca-file: {}, name: logs.example.net}}]}}",
        stage.dir().join("ca.pem").display()
    );
    stage.configure(&echo(2, "nat").head(&servers));
    stage.hang_up();
    until("all three are connected", || {
        let logging = logging(&stage);
        let servers = logging["servers"].as_array().unwrap();
        servers.len() == 3 && servers.iter().all(|server| server["connected"] == true)
    });
    stage.kill_server("pc2");
    let ways = ["udp", "tcp", "tls"];
    let has = |way: &str| collected(&stage).into_iter().find(|line| line[0] == way && line[7] == "check-down");
    until("all have heard", || ways.iter().all(|way| has(way).is_some()));
    for (way, priority) in [("udp", 16 * 8 + 4), ("tcp", 23 * 8 + 4), ("tls", 23 * 8 + 4)] {
        let line = has(way).unwrap();
        assert_eq!(line[1], SOURCE, "{way}: {line:?}");
        assert_eq!(line[2], priority.to_string(), "{way}: {line:?}");
        assert!(line[3].ends_with('Z') || line[3].contains("+00:00"), "{way}: {line:?}");
        assert_eq!((line[4].as_str(), line[5].as_str()), ("lb1", "lbd"), "{way}: {line:?}");
        assert!(line[8].contains("[lbd@32473 class=\"health\" number=\""), "{way}: {line:?}");
        assert!(line[8].contains(" server=\"pc2\"") && line[8].ends_with("\"]"), "{way}: {line:?}");
        assert!(line[9].contains(":7: up -> down: "), "{way}: {line:?}");
    }
    // A refused configuration is told in several lines, which are one message.
    stage.configure_text("hostname: 7\nservers: []\n");
    stage.hang_up();
    let refused = |line: &Vec<String>| line[0] == "tls" && line[9].contains("configuration refused");
    until("the refusal is told", || collected(&stage).iter().any(refused));
    let told = collected(&stage).into_iter().find(refused).unwrap();
    assert!(told[9].contains("\\n"), "{told:?}");
    assert!(collected(&stage).iter().all(|line| line.len() == 10), "nothing has broken a line");
    // What only some want only they get.
    let info =
        |way: &str| collected(&stage).iter().any(|line| line[0] == way && line[2].parse::<u32>().unwrap() % 8 > 5);
    console(&stage, "show clock\n");
    until("a command is told", || info("udp") && info("tls"));
    assert!(!info("tcp"));
    assert_eq!(server(&stage, "203.0.113.1:6514")["lost"], 0);
    assert!(stage.stop_balancer().success());
    let stopped = |way: &str| collected(&stage).iter().any(|line| line[0] == way && line[7] == "stopping");
    until("the last words have come", || ways.iter().all(|way| stopped(way)));
}

#[test]
fn a_certificate_of_another_authority_is_not_trusted() {
    let stage = Stage::new(2, &echo(2, "nat"));
    certificates(&stage.dir());
    let _collector = collector(&stage);
    // Other ones, of which rsyslogd knows nothing.
    let apart = stage.dir().join("apart");
    fs::create_dir(&apart).unwrap();
    certificates(&apart);
    for (ca, name, why) in [
        (apart.join("ca.pem"), "logs.example.net", "certificate"),
        (stage.dir().join("ca.pem"), "other.example.net", "certificate"),
        (stage.dir().join("missing.pem"), "logs.example.net", "missing.pem"),
    ] {
        let server = format!("address: 192.0.2.1, transport: tls, ca-file: {}, name: {name}", ca.display());
        stage.configure(&echo(2, "nat").head(&format!("logging: {{servers: [{{{server}}}]}}")));
        stage.hang_up();
        until(&format!("{name}, {why}"), || {
            let logging = logging(&stage);
            let server = &logging["servers"][0];
            server["trouble"].as_str().is_some_and(|trouble| trouble.contains(why)) && server["connected"] == false
        });
    }
    assert!(collected(&stage).is_empty());
}

/// Lines of the log: each command is one.
fn console(stage: &Stage, script: &str) {
    let mut command = Command::new(LBD);
    command.arg("console").arg("--run-dir").arg(stage.dir().join("run"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let script = script.to_owned();
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    output.read_to_end(&mut Vec::new()).unwrap();
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn servers_that_hang_or_are_not_there_cost_nothing_and_what_they_miss_is_counted() {
    // One takes connections and reads nothing, one is not there, and at one nobody is.
    let conf = echo(2, "nat").head(
        "logging: {servers: [{address: 192.0.2.1, transport: tcp}, {address: 10.1.0.254, transport: tcp, port: 602}, \
         {address: 192.0.2.77, transport: tcp}]}",
    );
    let mut stage = Stage::without_balancer(2);
    let hangs = stage.host(ROUTER).enter(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind(&std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, 601)).into()).unwrap();
        socket.listen(4).unwrap();
        TcpListener::from(socket)
    });
    let hangs = hangs.unwrap();
    stage.configure(&conf);
    stage.start();
    stage.wait("every member is scheduled", super::api::State::all_scheduled);
    let (taken, _) = hangs.accept().unwrap();
    let lines = 4000;
    let begun = Instant::now();
    console(&stage, &"show privilege\n".repeat(lines));
    assert!(begun.elapsed() < PATIENCE, "the commands took {:?}", begun.elapsed());
    let total =
        |server: &Value| -> u64 { ["sent", "lost", "queued"].iter().map(|key| server[*key].as_u64().unwrap()).sum() };
    for at in ["192.0.2.1:601", "10.1.0.254:602", "192.0.2.77:601"] {
        let server = server(&stage, at);
        assert!(server["lost"].as_u64().unwrap() > 0, "{server}");
        assert!(server["queued"].as_u64().unwrap() <= 1024, "{server}");
        // Each message is somewhere, but for one that is being sent.
        assert!(total(&server) + 1 >= lines as u64, "{server}");
    }
    assert_eq!(stage.ask("192.0.2.25:7", 50).failed_count(), 0);
    let shown =
        stage.run("lb1", LBD, &["console", "--run-dir", stage.dir().join("run").to_str().unwrap(), "show", "logging"]);
    assert!(shown.contains("Logging to 192.0.2.1:601 (tcp, info and worse): ") && shown.contains(" lost, "), "{shown}");

    // It comes to itself, and gets what has waited.
    drop(taken);
    drop(hangs);
    let _collector = collector_after(&stage);
    let begun = Instant::now();
    while server(&stage, "192.0.2.1:601")["queued"] != 0 || server(&stage, "192.0.2.1:601")["connected"] != true {
        assert!(begun.elapsed() < RECONNECT, "{}\n{}", logging(&stage), stage.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    until("what has waited has come", || collected(&stage).iter().filter(|line| line[0] == "tcp").count() >= 1024);
}

fn collector_after(stage: &Stage) -> Process {
    certificates(&stage.dir());
    collector(stage)
}
