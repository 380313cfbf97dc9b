//! `lbd lab --servers real --tour`: real clients at real servers through the balancer, and what happens to
//! customers when a server fails.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::exim::DOMAIN;
use super::faults::{self, Record};
use super::site::{Mode, OFFERS, Offer, RealSite};
use super::store::{ALICE, PROBE};
use crate::lab::command::words_of;
use crate::lab::host::Host;
use crate::lab::mail::{BALANCER, CLIENT};
use crate::lab::servers::RADIUS_SECRET;
use crate::lab::tell::Teller;

/// Of one client program.
const PATIENCE_S: &str = "10";
/// A mail that was taken is in its mailbox within this.
const DELIVERY: Duration = Duration::from_secs(10);

/// Every mode and address family.
fn ways() -> impl Iterator<Item = (Mode, bool)> {
    Mode::ALL.into_iter().flat_map(|mode| [(mode, false), (mode, true)])
}

/// Plays all scenes, the faults so many times; true if all that was said is so.
pub async fn tour(site: &mut RealSite, teller: &mut Teller, rounds: usize) -> anyhow::Result<bool> {
    clients(site, teller)?;
    suffer_all(site, teller, rounds).await?;
    site.balancer_runs()?;
    let (claims, wrong) = (teller.claims(), teller.wrong());
    let took = teller.elapsed().as_secs_f32();
    let verdict = if wrong == 0 { "All of it was so".into() } else { format!("{wrong} of it was NOT so") };
    teller.say(&format!("\n{verdict}: {claims} claims were checked. The visit took {took:.0} s."));
    Ok(wrong == 0)
}

/// Each protocol with a client of its own kind.
pub fn clients(site: &RealSite, teller: &mut Teller) -> anyhow::Result<()> {
    let client = site.site.host(CLIENT)?;
    teller.scene("Mail: sent with swaks, fetched with curl");
    for (mode, v6) in ways() {
        for service in ["smtp", "relay", "submission", "smtps"] {
            let token = format!("lbd-{}-{service}-{}", mode.word(), if v6 { 6 } else { 4 });
            let sent = send(client, service, mode, v6, &token);
            let fetched = sent.and_then(|()| fetch(client, mode, v6, &token));
            let text = format!("{:4} {:10} to {}", mode.word(), service, Offer::named(service)?.address(mode, v6));
            match fetched {
                Ok(places) => teller.claim(true, &format!("{text}: read back by {places}")),
                Err(error) => teller.claim(false, &format!("{text}: {error:#}")),
            }
        }
    }
    teller.scene("Questions: dig, radclient, curl");
    for (mode, v6) in ways() {
        for (service, question) in QUESTIONS {
            let address = Offer::named(service)?.address(mode, v6);
            let text = format!("{:4} {service:11} {address}", mode.word());
            match question(client, service, mode, v6) {
                Ok(answer) => teller.claim(true, &format!("{text}: {answer}")),
                Err(error) => teller.claim(false, &format!("{text}: {error:#}")),
            }
        }
    }
    Ok(())
}

/// Every fault, so many times, and the table of detection times.
async fn suffer_all(site: &mut RealSite, teller: &mut Teller, rounds: usize) -> anyhow::Result<()> {
    let mut record = Record::default();
    for round in 0..rounds {
        teller.scene(&format!("Faults, round {} of {rounds}: customers come every 50 ms meanwhile", round + 1));
        for fault in faults::all() {
            let sighting = faults::suffer(site, fault, round).await.with_context(|| fault.to_string())?;
            record.add(fault, &sighting);
            teller.claim(sighting.holds(), &format!("{fault}: {sighting}"));
        }
    }
    if rounds > 0 {
        teller.say(&format!("\nFrom the fault until the server is out of a service:\n\n{}", record.table()));
    }
    Ok(())
}

/// Sends a mail to alice with this word in it.
fn send(client: &Host, service: &str, mode: Mode, v6: bool, token: &str) -> anyhow::Result<()> {
    let address = Offer::named(service)?.address(mode, v6);
    let mut swaks = client.command("swaks");
    swaks.args(["--server", &address.ip().to_string(), "--port", &address.port().to_string()]);
    swaks.args(["--timeout", PATIENCE_S, "--helo", "client.example.org", "--from", "customer@example.org"]);
    swaks.args(["--to", &format!("{}@{DOMAIN}", ALICE.user), "--header", &format!("Subject: {token}")]);
    swaks.args(["--body", "How are you?"]);
    match service {
        "smtp" => &mut swaks,
        "relay" => swaks.arg("--tls"),
        "smtps" => swaks.arg("--tls-on-connect"),
        _ => swaks.arg("--tls"),
    };
    if ["submission", "smtps"].contains(&service) {
        swaks.args(["--auth", "PLAIN", "--auth-user", PROBE.user, "--auth-password", PROBE.password]);
    }
    output(swaks).map(drop)
}

/// Finds the mail with this word by IMAP, and reads it by all four services of the mailbox.
fn fetch(client: &Host, mode: Mode, v6: bool, token: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + DELIVERY;
    let number = loop {
        // `* SEARCH 5`: the fifth mail.
        let found = curl(client, &url("imap", mode, v6, &format!("INBOX?SUBJECT%20{token}"))?)?;
        let number = found.trim().strip_prefix("* SEARCH").and_then(|rest| rest.trim().parse::<u32>().ok());
        if let Some(number) = number {
            break number;
        }
        ensure!(Instant::now() < deadline, "not in the mailbox after {DELIVERY:?}; the search said {found:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    // POP3 has the mails in an order of its own.
    let list = curl(client, &url("pop3", mode, v6, "")?)?;
    let all: Vec<u32> = list.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    for service in ["imap", "imaps"] {
        let mail = curl(client, &url(service, mode, v6, &format!("INBOX;MAILINDEX={number}"))?)?;
        ensure!(mail.contains(token), "{service} gave another mail: {mail}");
    }
    for service in ["pop3", "pop3s"] {
        let has = |number: &u32| -> anyhow::Result<bool> {
            Ok(curl(client, &url(service, mode, v6, &number.to_string())?)?.contains(token))
        };
        let mut found = false;
        // The latest first.
        for number in all.iter().rev() {
            found = has(number)?;
            if found {
                break;
            }
        }
        ensure!(found, "{service} has {} mails, and none is it", all.len());
    }
    Ok("imap, imaps, pop3, pop3s".into())
}

fn url(service: &str, mode: Mode, v6: bool, path: &str) -> anyhow::Result<String> {
    let address = Offer::named(service)?.address(mode, v6);
    Ok(format!("{service}://{}:{}@{address}/{path}", ALICE.user, ALICE.password))
}

fn curl(client: &Host, url: &str) -> anyhow::Result<String> {
    let mut curl = client.command("curl");
    // The site's certificate is its own.
    curl.args(["--silent", "--show-error", "--insecure", "--globoff", "--max-time", PATIENCE_S, url]);
    output(curl)
}

type Question = fn(&Host, &str, Mode, bool) -> anyhow::Result<String>;

const QUESTIONS: [(&str, Question); 7] = [
    ("dns", |client, service, mode, v6| dig(client, service, mode, v6, "+notcp")),
    ("dns-tcp", |client, service, mode, v6| dig(client, service, mode, v6, "+tcp")),
    ("radius-auth", |client, service, mode, v6| {
        radclient(client, service, mode, v6, "auth", "User-Password = wonderland", "Access-Accept")
    }),
    ("radius-acct", |client, service, mode, v6| {
        let start = "Acct-Status-Type = Start, Acct-Session-Id = lbd";
        radclient(client, service, mode, v6, "acct", start, "Accounting-Response")
    }),
    ("http", page),
    ("webmail", page),
    ("https", page),
];

fn dig(client: &Host, service: &str, mode: Mode, v6: bool, way: &str) -> anyhow::Result<String> {
    let address = Offer::named(service)?.address(mode, v6);
    let mut dig = client.command("dig");
    dig.args(["+short", "+time=5", "+tries=1", way, &format!("@{}", address.ip()), "MX", DOMAIN]);
    let answer = output(dig)?.trim().to_owned();
    ensure!(answer == format!("10 mx.{DOMAIN}."), "dig says {answer:?}");
    Ok(answer)
}

fn radclient(
    client: &Host,
    service: &str,
    mode: Mode,
    v6: bool,
    kind: &str,
    attributes: &str,
    expected: &str,
) -> anyhow::Result<String> {
    let address = Offer::named(service)?.address(mode, v6);
    let words = format!(
        "echo 'User-Name = {}, {attributes}' | radclient -r 1 -t 5 {address} {kind} {RADIUS_SECRET}",
        ALICE.user
    );
    let mut shell = client.command("sh");
    shell.args(["-c", &words]);
    let answer = output(shell)?;
    ensure!(answer.contains(&format!("Received {expected}")), "radclient says {answer}");
    Ok(expected.into())
}

fn page(client: &Host, service: &str, mode: Mode, v6: bool) -> anyhow::Result<String> {
    let scheme = if service == "http" { "http" } else { "https" };
    let answer = curl(client, &format!("{scheme}://{}/", Offer::named(service)?.address(mode, v6)))?;
    let words = answer.split_once("<h1>").and_then(|(_, rest)| rest.split_once("</h1>"));
    Ok(words.with_context(|| format!("another page: {answer}"))?.0.to_owned())
}

/// What a client program prints; an error with what it says if it fails.
fn output(mut command: Command) -> anyhow::Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}\n{}\n{}", output.status, errors.trim(), said.trim());
    Ok(said)
}

/// Where everything is, and what to try.
pub fn guide(site: &RealSite, window: Option<SocketAddr>) -> String {
    let id = site.site.id();
    let mut text = format!("\nEach machine is a network namespace, lbd-{id}-<name>. The services:\n\n");
    for offer in OFFERS {
        text += &format!(
            "    {:8} {:12} {}  dsr {:20} {:22} nat {:21} {}\n",
            offer.virtual_server,
            offer.service,
            if offer.udp { "udp" } else { "tcp" },
            offer.address(Mode::Dsr, false).to_string(),
            offer.address(Mode::Dsr, true).to_string(),
            offer.address(Mode::Nat, false).to_string(),
            offer.software.machines().join(", ")
        );
    }
    text += &words_of(window);
    let (user, password) = (ALICE.user, ALICE.password);
    let client = format!("nsenter --net=/run/netns/lbd-{id}-{CLIENT}");
    text += &format!(
        "
Play the customer (as root, in another terminal; {user}'s password is {password}):

    {client} swaks --server 192.0.2.25 --to {user}@{DOMAIN}
    {client} curl imap://{user}:{password}@192.0.2.110/INBOX
    {client} dig @192.0.2.53 MX {DOMAIN}
    {client} curl --insecure https://192.0.2.80/

Be the operator:

    {client} {}      # the command line; ? helps

Configuration: {}
Logs:          {}/*.log and pc*/*.log there

Ctrl-C takes everything down.",
        site.operator.words(BALANCER),
        site.config_file().display(),
        site.site.dir().display()
    );
    text
}
