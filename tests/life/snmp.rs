//! Debian's snmpd with the balancer as its subagent: walks by v2c and v3, traps, and an agent that goes away.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lbd::lab::Process;
use lbd::lab::mail::BALANCER;

use super::conf::{Conf, echo};
use super::stage::{PATIENCE, Stage, until};

const ROOT: &str = ".1.3.6.1.4.1.32473.1";
/// Longer than the longest pause between two attempts to connect.
const RECONNECT: Duration = Duration::from_secs(90);

fn conf(stage: &Stage) -> Conf {
    echo(2, "nat").head(&format!("snmp: {{agentx: {}}}", stage.dir().join("agentx").display()))
}

fn start(stage: &Stage, program: &str, conf: &str, arguments: &[&str]) -> Process {
    let dir = stage.dir();
    let file = dir.join(format!("{program}.conf"));
    fs::write(&file, conf).unwrap();
    let output = fs::File::options().create(true).append(true).open(dir.join(format!("{program}.log"))).unwrap();
    let mut command = stage.host(BALANCER).command(program);
    command
        .args(["-f", "-C", "-c"])
        .arg(&file)
        .args(arguments)
        .env("SNMP_PERSISTENT_DIR", dir.join("persistent"))
        .env("MIBS", "");
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    stage.site.start(BALANCER, command).unwrap_or_else(|e| panic!("{program}: {e}; `tools/setup.sh test` installs it"))
}

fn agent(stage: &Stage) -> Process {
    let conf = format!(
        "agentAddress udp:127.0.0.1:161\nrocommunity public 127.0.0.1\ncreateUser mrtg SHA-256 graphsgraphs AES graphsgraphs\n\
         rouser mrtg priv\nmaster agentx\nagentXSocket {}\ntrap2sink 127.0.0.1:162 public\n",
        stage.dir().join("agentx").display()
    );
    start(stage, "snmpd", &conf, &["-Lo"])
}

/// The lines of a program of net-snmp's, numbers and not names.
fn ask(stage: &Stage, program: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
    let mut command = stage.host(BALANCER).command(program);
    command.args(arguments).env("MIBS", "").env("SNMP_PERSISTENT_DIR", stage.dir().join("persistent"));
    let output = command.output().unwrap_or_else(|e| panic!("{program}: {e}; `tools/setup.sh test` installs it"));
    if !output.status.success() {
        return Err(format!("{output:?}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

const V2C: [&str; 8] = ["-v2c", "-c", "public", "-On", "-t", "5", "-r", "3"];

fn walk(stage: &Stage, below: &str) -> Vec<String> {
    let at = format!("{ROOT}{below}");
    let arguments: Vec<&str> = V2C.iter().copied().chain(["127.0.0.1", &at]).collect();
    ask(stage, "snmpbulkwalk", &arguments).unwrap_or_else(|why| panic!("{why}\n{}", stage.log()))
}

/// A name as it is an index: its length, and its octets.
fn index(name: &str) -> String {
    let octets: String = name.bytes().map(|octet| format!(".{octet}")).collect();
    format!(".{}{octets}", name.len())
}

fn is_served(stage: &Stage) -> bool {
    let at = format!("{ROOT}.1.1.2.0");
    let arguments: Vec<&str> = V2C.iter().copied().chain(["127.0.0.1", &at]).collect();
    ask(stage, "snmpget", &arguments).is_ok_and(|lines| lines[0].ends_with("STRING: \"lb1\""))
}

#[test]
fn walks_by_v2c_and_v3_say_what_the_state_says() {
    let stage = Stage::new(2, &echo(2, "nat"));
    let _agent = agent(&stage);
    stage.configure(&conf(&stage));
    stage.hang_up();
    until("the objects are served", || is_served(&stage));
    stage.ask("192.0.2.25:7", 40);
    stage.wait("the connections are counted", |state| {
        let services = state.0["services"].as_array().unwrap();
        services.iter().filter_map(|service| service["connections"]["total"].as_u64()).sum::<u64>() >= 40
    });
    // What is answered is a second old at most.
    std::thread::sleep(Duration::from_millis(1100));

    let all = walk(&stage, "");
    assert!(all.len() > 100, "{all:#?}");
    let member = |column: u32| format!(".1.6.1.{column}{}{}.4{}", index("v"), index("echo"), index("pc1"));
    let of = |lines: &[String], column: u32| {
        let begin = format!("{ROOT}{} = ", member(column));
        let line = lines.iter().find(|line| line.starts_with(&begin));
        line.unwrap_or_else(|| panic!("{begin}: {lines:#?}"))[begin.len()..].to_owned()
    };
    assert_eq!(of(&all, 6), "INTEGER: 2", "its health: up");
    assert_eq!(of(&all, 9), "INTEGER: 1", "it serves");
    let total: u64 = of(&all, 15).strip_prefix("Counter64: ").unwrap().parse().unwrap();
    assert!((15..=25).contains(&total), "half of the connections: {total}");
    let by_bulk = walk(&stage, ".1.8");
    let at = format!("{ROOT}.1.8");
    let by_next = ask(&stage, "snmpwalk", &V2C.iter().copied().chain(["127.0.0.1", &at]).collect::<Vec<_>>()).unwrap();
    assert_eq!(by_bulk, by_next);
    assert_eq!(by_next.len(), 2 * 6, "two servers, six columns each");

    let v3 = [
        "-v3",
        "-l",
        "authPriv",
        "-u",
        "mrtg",
        "-a",
        "SHA-256",
        "-A",
        "graphsgraphs",
        "-x",
        "AES",
        "-X",
        "graphsgraphs",
    ];
    let v3: Vec<&str> = v3.iter().copied().chain(["-On", "-t", "5", "127.0.0.1", &at]).collect();
    assert_eq!(ask(&stage, "snmpwalk", &v3).unwrap(), by_next);

    // Nothing can be set.
    let at = format!("{ROOT}.1.1.2.0");
    let set: Vec<&str> = V2C.iter().copied().chain(["127.0.0.1", &at, "s", "x"]).collect();
    assert!(ask(&stage, "snmpset", &set).is_err());
    assert!(is_served(&stage));
}

#[test]
fn the_module_loads_in_net_snmp_and_names_what_is_served() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let dirs = format!("{}:{}", root.join("tests/snmp_modules").display(), root.join("docs/snmp").display());
    let translate = |arguments: &[&str]| {
        let mut command = std::process::Command::new("snmptranslate");
        let output = command.args(["-M", &dirs, "-m", "LBD-MIB"]).args(arguments).output();
        let output = output.unwrap_or_else(|e| panic!("snmptranslate: {e}; `tools/setup.sh test` installs it"));
        // On a machine where it runs for the first time it says what it has made.
        let errors = String::from_utf8_lossy(&output.stderr);
        let has_none = errors.lines().all(|line| line.starts_with("Created directory: "));
        assert!(output.status.success() && has_none, "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(translate(&["-On", "LBD-MIB::lbdMemberHealth"]), format!("{ROOT}.1.6.1.6"));
    assert_eq!(translate(&["-On", "LBD-MIB::lbdOwnerBecame"]), format!("{ROOT}.0.5"));
    let row = format!("{ROOT}.1.6.1.6{}{}.4{}", index("v"), index("echo"), index("pc1"));
    assert_eq!(translate(&[&row]), "LBD-MIB::lbdMemberHealth.\"v\".\"echo\".ipv4.\"pc1\"");
}

#[test]
fn traps_tell_of_health_and_links() {
    let mut stage = Stage::new(2, &echo(2, "nat"));
    let _agent = agent(&stage);
    let _sink = start(&stage, "snmptrapd", "disableAuthorization yes\n", &["-Lo", "-On", "127.0.0.1:162"]);
    stage.configure(&conf(&stage));
    stage.hang_up();
    until("the objects are served", || is_served(&stage));
    let has = |number: u32, words: &str| {
        let text = fs::read_to_string(stage.dir().join("snmptrapd.log")).unwrap_or_default();
        let trap = format!(".1.3.6.1.6.3.1.1.4.1.0 = OID: {ROOT}.0.{number}\t");
        text.lines().any(|line| line.contains(&trap) && line.contains(words))
    };
    stage.run("pc1", "ip", &["link", "set", "eth0", "down"]);
    until("a trap of the port", || has(12, "STRING: \"port p1 does not forward any more\""));
    stage.kill_server("pc2");
    let has = |number: u32, words: &str| {
        let text = fs::read_to_string(stage.dir().join("snmptrapd.log")).unwrap_or_default();
        let trap = format!(".1.3.6.1.6.3.1.1.4.1.0 = OID: {ROOT}.0.{number}\t");
        text.lines().any(|line| line.contains(&trap) && line.contains(words))
    };
    until("a trap of the check", || has(1, "STRING: \"pc2\""));
    until("a trap of the service", || has(3, "STRING: \"v/echo\""));
}

#[test]
fn an_agent_that_dies_hangs_or_comes_late_costs_nothing() {
    let mut stage = Stage::without_balancer(2);
    stage.configure(&conf(&stage));
    stage.start();
    stage.wait("every member is scheduled", super::api::State::all_scheduled);
    let mut agent = agent(&stage);
    let begun = Instant::now();
    while !is_served(&stage) {
        assert!(begun.elapsed() < RECONNECT, "{}", stage.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    // It hangs: the balancer goes on, and closes the session.
    agent.signal(nix::sys::signal::Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    stage.kill_server("pc2");
    stage.wait("pc2 is down", |state| !state.all_scheduled());
    stage.start_server("pc2");
    stage.wait("pc2 is up", super::api::State::all_scheduled);
    assert!(begun.elapsed() < 2 * PATIENCE);
    agent.kill().unwrap();
    let _agent = self::agent(&stage);
    let begun = Instant::now();
    while !is_served(&stage) {
        assert!(begun.elapsed() < RECONNECT, "{}", stage.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Rows as many as a large site has: a walk takes bounded time, and does not compose the state for each step.
#[test]
fn a_walk_over_a_thousand_members_takes_bounded_time() {
    let stage = Stage::new(2, &echo(2, "nat"));
    let _agent = agent(&stage);
    let mut large = conf(&stage);
    for service in 0..500 {
        large =
            large.service("v", &format!("s{service}"), &format!("port: {}, pool: echo, mode: nat", 10_000 + service));
    }
    stage.configure(&large);
    stage.hang_up();
    until("the objects are served", || is_served(&stage));
    until("all services are there", || stage.state().0["services"].as_array().unwrap().len() >= 1000);
    let begun = Instant::now();
    let members = walk(&stage, ".1.6");
    let took = begun.elapsed();
    assert!(members.len() >= 2000 * 15, "{} objects", members.len());
    println!("{} objects in {took:?}", members.len());
    assert!(took < PATIENCE, "{} objects in {took:?}", members.len());
}

/// Whether the kernel counts what the program redirects, past its stack: IF-MIB is as good as its counts. Told by the other
/// end of the cable, which has no XDP; and mrtg graphs it.
#[test]
fn if_mib_counts_what_xdp_redirects_and_mrtg_graphs_it() {
    let stage = Stage::new(2, &echo(2, "nat"));
    let _agent = agent(&stage);
    let get = |oid: &str| -> Option<u64> {
        let arguments: Vec<&str> = V2C.iter().copied().chain(["127.0.0.1", oid]).collect();
        let lines = ask(&stage, "snmpget", &arguments).ok()?;
        lines.first()?.split("Counter64: ").nth(1)?.parse().ok()
    };
    until("the agent answers", || get(".1.3.6.1.2.1.31.1.1.1.6.1").is_some());
    let links: serde_json::Value =
        serde_json::from_str(&stage.run("lb1", "ip", &["-j", "link", "show", "p1"])).unwrap();
    let octets_in = format!(".1.3.6.1.2.1.31.1.1.1.6.{}", links[0]["ifindex"]);
    let sent_by_pc1 = || -> u64 {
        let text = stage.run("pc1", "ip", &["-s", "-j", "link", "show", "eth0"]);
        let links: serde_json::Value = serde_json::from_str(&text).unwrap();
        links[0]["stats64"]["tx"]["bytes"].as_u64().unwrap()
    };
    let redirected = || -> u64 {
        let state = stage.state();
        let services = state.0["services"].as_array().unwrap();
        let members = services.iter().flat_map(|service| service["members"].as_array().unwrap());
        members.filter(|one| one["server"] == "pc1").map(|one| one["traffic"]["bytes_out"].as_u64().unwrap()).sum()
    };
    // All that has been until now is in both.
    let (before, counted_before) = (sent_by_pc1(), get(&octets_in).unwrap());
    let redirected_before = redirected();
    assert_eq!(stage.ask("192.0.2.25:7", 400).failed_count(), 0);
    let sent = sent_by_pc1() - before;
    let redirected = redirected() - redirected_before;
    assert!(redirected > sent / 2, "{redirected} of {sent} bytes went by XDP");
    // The agent reads the kernel's counts every 15 s.
    until("IF-MIB has them", || get(&octets_in).unwrap() - counted_before >= sent);

    let dir = stage.dir().join("mrtg");
    fs::create_dir(&dir).unwrap();
    let work = format!("WorkDir: {}", dir.display());
    let config = dir.join("mrtg.cfg");
    let mut cfgmaker = stage.host(BALANCER).command("cfgmaker");
    cfgmaker.args(["--global", &work, "--ifref=name", "--snmp-options=:::::2", "--output"]).arg(&config);
    let made = cfgmaker.arg("graphs@127.0.0.1").output().expect("cfgmaker; `tools/setup.sh test` installs it");
    assert!(!made.status.success() || !fs::read_to_string(&config).unwrap().contains("Target["), "a wrong community");
    let mut cfgmaker = stage.host(BALANCER).command("cfgmaker");
    cfgmaker.args(["--global", &work, "--ifref=name", "--snmp-options=:::::2", "--output"]).arg(&config);
    let made = cfgmaker.arg("public@127.0.0.1").output().unwrap();
    let text = fs::read_to_string(&config).unwrap_or_default();
    assert!(made.status.success() && text.contains("Target[127.0.0.1_p1]"), "{made:?}\n{text}");
    let member =
        |column: u32| format!("{}.1.6.1.{column}{}{}.4{}", &ROOT[1..], index("v"), index("echo"), index("pc1"));
    let own = format!(
        "\nTarget[pc1]: {}&{}:public@127.0.0.1:::::2\nMaxBytes[pc1]: 1250000000\nTitle[pc1]: pc1\n",
        member(17),
        member(19)
    );
    fs::write(&config, text + &own).unwrap();
    stage.configure(&conf(&stage));
    stage.hang_up();
    until("the objects are served", || is_served(&stage));
    let mut mrtg = stage.host(BALANCER).command("mrtg");
    mrtg.arg(&config).env("LANG", "C").env("LC_ALL", "C");
    let ran = mrtg.output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    for (name, least) in [("127.0.0.1_p1", sent), ("pc1", 1)] {
        let log =
            fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_else(|e| panic!("{name}: {e}: {ran:?}"));
        let first: Vec<u64> = log.lines().next().unwrap().split(' ').map(|word| word.parse().unwrap()).collect();
        assert!(first[1] >= least, "{name}: {log}");
        assert!(dir.join(format!("{name}.html")).exists(), "{name}");
    }
}
