//! Looking at what the data plane does: why a packet goes where, packets in a file, and who uses a service most.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::conf::Conf;
use super::configuring::{done, typed};
use super::stage::{LBD, Stage};
use super::talk::{Newcomers, Talkers};

const V: &str = "192.0.2.25:7";
const W: &str = "192.0.2.110:7";

fn conf() -> Conf {
    Conf::new(2)
        .pool("echo", "members: [pc1, pc2], scheduler: round-robin")
        .virtual_server("v", &["192.0.2.25"])
        .service("v", "echo", "port: 7, pool: echo, mode: nat")
        .virtual_server("w", &["192.0.2.110"])
        .service("w", "echo", "port: 7, pool: echo, mode: dsr")
}

#[test]
fn an_explanation_names_the_server_that_a_connection_then_gets() {
    let stage = Stage::new(2, &conf());
    let ask = |more: &str| -> serde_json::Value {
        let said = done(&stage, &format!("explain v echo client 198.51.100.7 {more} | json\n"));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{said}: {error}"))
    };
    let first = ask("40000");
    assert_eq!((&first["verdict"], &first["reason"]), (&"forwarded".into(), &"to-server".into()), "{first}");
    assert!(first["because"][0].as_str().unwrap().starts_with("new, and bound to no server: round-robin chose"));
    assert_eq!(first["leaves"]["source"], "198.51.100.7:40000");
    assert_eq!(first, ask("40000"), "asking takes no turn");
    let unknown = ask("40000 later");
    assert_eq!((&unknown["verdict"], &unknown["reason"]), (&"answered".into(), &"rst-no-flow".into()), "{unknown}");
    assert_eq!(unknown["because"], serde_json::json!([]), "the reason says it all");

    // A connection that is there.
    let client = stage.client().clone();
    let talkers = Talkers::open(&client, V, 1, &[]);
    talkers.all_talk();
    let row = stage.api().connections().into_iter().next().unwrap();
    let (address, port) = (row["client"].as_str().unwrap(), &row["client_port"]);
    let said = done(&stage, &format!("explain v echo client {address} {port} later\n"));
    assert!(said.contains(&format!("Server   {}\n", talkers.servers[0])), "{said}");
    assert!(said.contains("Because  the connection is in the table"), "{said}");
    talkers.end();

    for pc in ["pc1", "pc2"] {
        done(&stage, &format!("server disable {pc} force\n"));
    }
    stage.wait("nobody is scheduled", |s| {
        let members = s.services().iter().flat_map(|service| service["members"].as_array().unwrap());
        members.into_iter().all(|member| member["scheduled"] == false)
    });
    let nobody = ask("40000");
    assert_eq!((&nobody["verdict"], &nobody["reason"]), (&"answered".into(), &"rst-no-server".into()), "{nobody}");
    assert!(nobody["because"].to_string().contains("disabled"), "{nobody}");
    let wrong = typed(&stage, "explain v ecko client 198.51.100.7 40000\n");
    let said = String::from_utf8_lossy(&wrong.stdout).into_owned();
    assert!(!wrong.status.success() && said.contains("did you mean `echo`"), "{said}");
}

/// What an independent reader finds in a capture: source, destination, comment.
fn read(stage: &Stage, name: &str, filter: &str) -> Vec<[String; 3]> {
    let file = stage.dir().join(format!("state/captures/{name}.pcapng"));
    let fields = ["ip.src", "ip.dst", "frame.comment"];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(&file).args(["-Y", filter, "-T", "fields", "-E", "separator=|"]);
    fields.iter().for_each(|field| _ = command.args(["-e", field]));
    let output = command.output().expect("tshark runs (tools/setup.sh test installs it)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let row = |line: &str| {
        let mut parts = line.split('|').map(str::to_owned);
        [(); 3].map(|()| parts.next().unwrap_or_default())
    };
    text.lines().map(row).collect()
}

#[test]
fn a_capture_has_both_ways_with_their_fate_and_no_word_of_the_customers_unless_asked() {
    let stage = Stage::new(2, &conf());
    let client = stage.client().clone();
    let talkers = Talkers::open(&client, V, 10, &[]);
    let others = Talkers::open(&client, W, 10, &[]);
    let newcomers = Newcomers::start(&client, V, Duration::from_millis(10));
    let said = done(&stage, "capture some service v echo seconds 2\n");
    assert!(
        said.contains(" packets, ") && !said.contains("B bytes") && said.contains("some.pcapng: the time is over"),
        "{said}"
    );
    assert!(!said.contains("came too fast"), "{said}");
    let rows = read(&stage, "some", "tcp");
    let to_server = |row: &&[String; 3]| row[1] == "192.0.2.25" && row[2].starts_with("forwarded (to-server), pc");
    let to_client =
        |row: &&[String; 3]| row[0].starts_with("10.1.0.") && row[2].starts_with("forwarded (to-client), pc");
    assert!(rows.iter().filter(to_server).count() > 50, "{rows:?}");
    assert!(rows.iter().filter(to_client).count() > 50, "{rows:?}");
    let strange: Vec<_> = rows.iter().filter(|row| !row[2].ends_with(" of v/echo")).collect();
    assert!(strange.is_empty(), "nothing of others: {strange:?}");
    let file = |name: &str| std::fs::read(stage.dir().join(format!("state/captures/{name}.pcapng"))).unwrap();
    let words = |bytes: &[u8]| bytes.windows(4).any(|four| four == b"says");
    assert!(!words(&file("some")), "headers only");

    done(&stage, "capture more host 192.0.2.25 port 7 protocol tcp seconds 20 packets 200 whole\n");
    assert!((200..=201).contains(&read(&stage, "more", "tcp").len()));
    assert!(words(&file("more")), "as was asked for");
    assert!(stage.log().contains("captures packets for"), "it is written down who captures");
    for kind in [&talkers, &others] {
        kind.all_talk();
        kind.none_is_lost();
    }
    newcomers.end_all_served();
}

#[test]
fn a_daemon_that_dies_in_a_capture_serves_on_and_the_next_one_captures() {
    let mut stage = Stage::new(2, &conf());
    let client = stage.client().clone();
    let talkers = Talkers::open(&client, V, 20, &[]);
    let newcomers = Newcomers::start(&client, V, Duration::from_millis(10));
    let mut command = Command::new(LBD);
    command.arg("console").arg("--run-dir").arg(stage.dir().join("run")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut console = command.spawn().unwrap();
    console.stdin.take().unwrap().write_all(b"capture never seconds 30\n").unwrap();
    // It captures once it writes.
    let file = stage.dir().join("state/captures/never.pcapng");
    super::stage::until("it captures", || file.metadata().is_ok_and(|file| file.len() > 10_000));
    stage.kill_balancer();
    assert!(!console.wait_with_output().unwrap().status.success());
    talkers.all_talk();
    stage.start();
    stage.wait("it serves", |s| s.all_scheduled());
    talkers.all_talk();
    let said = done(&stage, "capture again service v echo seconds 1\n");
    assert!(said.contains("again.pcapng"), "{said}");
    assert!(!read(&stage, "again", "tcp").is_empty());
    talkers.none_is_lost();
    newcomers.end_all_served();
}

#[test]
fn top_shows_who_sends_most() {
    let stage = Stage::new(2, &conf());
    let client = stage.client().clone();
    let customers = [super::stage::customer_address(1), super::stage::customer_address(2)];
    let many = Talkers::open(&client, V, 20, &customers[..1]);
    let few = Talkers::open(&client, V, 3, &customers[1..]);
    let said = done(&stage, "top v echo seconds 2 | json\n");
    let rows: serde_json::Value = serde_json::from_str(&said).unwrap();
    let client = |row: usize| rows[row]["client"].as_str().unwrap_or_default().parse::<std::net::IpAddr>().ok();
    assert_eq!((client(0), client(1)), (Some(customers[0]), Some(customers[1])), "{said}");
    let number = |row: usize, what: &str| rows[row][what].as_u64().unwrap();
    assert_eq!((number(0, "connections"), number(1, "connections")), (20, 3), "{said}");
    assert!(number(0, "packets") > number(1, "packets") && number(1, "bytes") > 100, "{said}");
    many.end();
    few.end();
}
