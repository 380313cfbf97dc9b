//! The status page in headless Chromium, beside the balancer of the lab. Needs root, and Debian's `chromium`, `chromium-driver` and
//! `python3-selenium`. With `LBD_PICTURES=docs/images` its pictures go there (`make pictures`).

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use lbd::access::secrets;
use lbd::lab::balancer::Balancer;
use lbd::lab::mail::{BALANCER, CLIENT, MailSite};

const LBD: &str = env!("CARGO_BIN_EXE_lbd");

/// Connections that are held open, so that there is something to see.
const CUSTOMERS: usize = 90;

fn connect(lab: &MailSite) -> Vec<TcpStream> {
    let open =
        |n: usize| TcpStream::connect(if n.is_multiple_of(3) { "192.0.2.25:25" } else { "192.0.2.110:143" }).unwrap();
    lab.site.host(CLIENT).unwrap().enter(move || (0..CUSTOMERS).map(open).collect()).unwrap()
}

#[test]
fn the_page_shows_the_site_live_to_everybody_and_survives_a_restart_of_the_daemon() {
    let mut lab = MailSite::start(Path::new(LBD)).unwrap();
    let secret = secrets::hash("correct horse").unwrap();
    let config = format!("{}  webmaster: {{level: 15, secret: \"{}\"}}\n", lab.config(), secret.as_str());
    std::fs::write(lab.config_file(), config).unwrap();
    let start = |lab: &MailSite| Balancer::start(&lab.site, BALANCER, Path::new(LBD), &lab.config_file()).unwrap();
    let mut balancer = start(&lab);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pictures = std::env::var_os("LBD_PICTURES").map_or_else(|| lab.site.dir().join("pictures"), PathBuf::from);
    std::fs::create_dir_all(&pictures).unwrap();
    let errors = lab.site.dir().join("page.log");
    let mut command = lab.site.host(BALANCER).unwrap().command("/usr/bin/python3");
    command.arg(root.join("tests/page/page.py")).arg("http://127.0.0.1:8080/").arg(&pictures);
    command.env("HOME", lab.site.dir()).env("SE_AVOID_STATS", "true");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&errors).unwrap());
    let mut script = lab.site.start(BALANCER, command).unwrap();
    let mut answers = script.take_stdin().unwrap();
    let (mut asked, mut customers) = (0, Vec::new());
    for line in BufReader::new(script.take_stdout().unwrap()).lines() {
        match line.unwrap().as_str() {
            "connect" => customers = connect(&lab),
            "kill pc1" => _ = lab.server("pc1").unwrap().kill().unwrap(),
            "kill balancer" => _ = balancer.process().kill().unwrap(),
            "start balancer" => balancer = start(&lab),
            other => panic!("what does it want? {other}"),
        }
        answers.write_all(b"done\n").unwrap();
        asked += 1;
    }
    let status = script.stop().unwrap();
    assert!(
        status.success() && asked == 4 && customers.len() == CUSTOMERS,
        "{status:?}: {}",
        std::fs::read_to_string(&errors).unwrap()
    );
}
