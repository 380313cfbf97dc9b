//! `lbd lab --record docs`: what the documentation shows of sessions was typed, and answered.
//!
//! The scripts are `sessions/alone.script` of that directory, for one box, and `pair.script` for two. They name their
//! sessions by `== NAME`; each becomes `sessions/NAME.txt`, and stands in the directory's pages
//! between `<!-- session: NAME -->` and `<!-- end of session -->`. All lines of a script are typed but these:
//!
//! - `@box NAME`: from here on at this box;
//! - `@until WORD in COMMAND`: waits until the answer of the command has this word, without a trace;
//! - `@hold KIND ADDRESS`: a customer connects, and stays to the end;
//! - `@settled`: waits until the boxes of a pair agree.

mod mask;
mod pages;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::customer::{self, Held, Visit};
use super::mail::{BALANCER, CLIENT, MailSite};
use super::pair::PairSite;
use super::servers::Kind;
use super::site::Site;
use super::tell::Teller;
use super::typist::{Exchange, Typist};

/// What is waited for has this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(200);
/// A virtual address of the scripts that servers get packets for as they are.
const DSR_ADDRESS: &str = "192.0.2.26";

/// Builds the sites, types all scripts, and writes what was seen.
pub async fn record(docs: &Path, program: &Path, teller: &mut Teller) -> anyhow::Result<()> {
    let dir = docs.join("sessions");
    let script = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let [one, two] = [script("alone.script")?, script("pair.script")?];
    let mut sessions = alone(program, &one, teller).await?;
    sessions.append(&mut pair(program, &two, teller).await?);
    for (name, text) in &sessions {
        let path = dir.join(format!("{name}.txt"));
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    pages::write(docs, &sessions)?;
    teller.say(&format!("{} sessions are written to {}.", sessions.len(), dir.display()));
    Ok(())
}

/// Sessions by their names, as they are written.
type Sessions = BTreeMap<String, String>;

async fn alone(program: &Path, script: &str, teller: &mut Teller) -> anyhow::Result<Sessions> {
    let mut lab = MailSite::start_with(program, 5)?;
    for pc in ["pc2", "pc5"] {
        lab.site.ip(pc, &format!("addr add {DSR_ADDRESS}/32 dev lo\n"))?;
    }
    lab.start_balancer()?.ready(teller).await?;
    let typist = Typist::log_in(&lab.site, &lab.operator, BALANCER)?;
    let mut recorder = Recorder::new(&lab.site, BTreeMap::from([(BALANCER, typist)]), None);
    recorder.play(script).await
}

async fn pair(program: &Path, script: &str, teller: &mut Teller) -> anyhow::Result<Sessions> {
    let mut lab = PairSite::start(program, ["", ""])?;
    lab.let_operator_in()?;
    // The first one owns in every recording.
    lab.start_balancer(0)?;
    lab.until_owns(0, PATIENCE).await?;
    lab.start_balancer(1)?;
    lab.settled(PATIENCE).await?;
    teller.say("Two balancers run, and lb1 owns.");
    let typists = BTreeMap::from([("lb1", lab.log_in(0)?), ("lb2", lab.log_in(1)?)]);
    let mut recorder = Recorder::new(&lab.site, typists, Some(&lab));
    recorder.play(script).await
}

struct Recorder<'a> {
    site: &'a Site,
    typists: BTreeMap<&'static str, Typist>,
    pair: Option<&'a PairSite>,
    at: String,
    held: Vec<Held>,
}

impl<'a> Recorder<'a> {
    fn new(site: &'a Site, typists: BTreeMap<&'static str, Typist>, pair: Option<&'a PairSite>) -> Self {
        Self { site, typists, pair, at: BALANCER.into(), held: Vec::new() }
    }

    async fn play(&mut self, script: &str) -> anyhow::Result<Sessions> {
        let (mut sessions, mut name) = (Sessions::new(), None);
        for line in script.lines().filter(|line| !line.is_empty()) {
            if let Some(next) = line.strip_prefix("== ") {
                sessions.insert(next.to_owned(), String::new());
                name = Some(next.to_owned());
            } else if let Some(order) = line.strip_prefix('@') {
                self.obey(order).await.with_context(|| line.to_owned())?;
            } else {
                let text = name.as_ref().and_then(|name| sessions.get_mut(name));
                let text = text.with_context(|| format!("{line:?} is in no session"))?;
                let Exchange { prompt, typed, answer } = self.types(line)?;
                *text += &format!("{prompt}{typed}\n");
                mask::masked(&answer).iter().for_each(|line| *text += &format!("{line}\n"));
            }
        }
        Ok(sessions)
    }

    fn types(&mut self, line: &str) -> anyhow::Result<Exchange> {
        let typist = self.typists.get_mut(self.at.as_str());
        typist.with_context(|| format!("there is no box {}", self.at))?.types(line)
    }

    async fn obey(&mut self, order: &str) -> anyhow::Result<()> {
        match order.split_once(' ').unwrap_or((order, "")) {
            ("box", name) => name.clone_into(&mut self.at),
            ("until", what) => {
                let (word, command) = what.split_once(" in ").context("it is `@until WORD in COMMAND`")?;
                let begun = Instant::now();
                loop {
                    let answer = self.types(command)?.answer;
                    if answer.iter().any(|line| line.contains(word)) {
                        break;
                    }
                    ensure!(begun.elapsed() < PATIENCE, "not after {PATIENCE:?}: {}", answer.join("\n"));
                    tokio::time::sleep(LOOK).await;
                }
            }
            ("hold", who) => {
                let (kind, address) = who.split_once(' ').context("it is `@hold KIND ADDRESS`")?;
                let kind: Kind = kind.parse().map_err(anyhow::Error::msg)?;
                let visit = Visit::new(kind, address.parse()?).times(1);
                let client = self.site.host(CLIENT)?;
                self.held.extend(client.run(move || customer::hold(visit)).await?.map_err(anyhow::Error::msg)?);
            }
            ("settled", _) => {
                self.pair.context("there is no pair")?.settled(PATIENCE).await?;
            }
            _ => bail!("no script has this"),
        }
        Ok(())
    }
}
