//! The balancer of a site: `lbd run` on one of its machines.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::api::Api;
use super::error::LabError;
use super::process::{Process, ending};
use super::site::Site;
use super::tell::Teller;

/// It has this long from its start until every server is up.
const START_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Balancer {
    process: Process,
    program: PathBuf,
    log: PathBuf,
    api: Api,
}

impl Balancer {
    /// Starts `lbd run` with this configuration. State, pins and log are in the site's directory.
    pub fn start(site: &Site, name: &str, program: &Path, config: &Path) -> Result<Self, LabError> {
        let dir = site.dir();
        let (log, state, run) =
            (log_of(site, name), dir.join(format!("{name}-state")), dir.join(format!("{name}-run")));
        for path in [&state, &run] {
            std::fs::create_dir_all(path).map_err(LabError::file("create", path))?;
        }
        let output = File::create(&log).map_err(LabError::file("create", &log))?;
        let errors = output.try_clone().map_err(LabError::file("open", &log))?;
        let host = site.host(name)?;
        let mut command = host.command(program);
        command.arg("run").arg("--config").arg(config).arg("--state-dir").arg(&state).arg("--run-dir").arg(&run);
        // The log is a file: no colours.
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(output).stderr(errors);
        let process = site.start(name, command)?;
        Ok(Self { process, program: program.to_owned(), log, api: Api::new(host.clone()) })
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    /// An error with the end of its log, if it has ended.
    pub fn runs(&mut self) -> Result<(), LabError> {
        let status = self.process.ended().map_err(LabError::file("watch", &self.program))?;
        let Some(status) = status else { return Ok(()) };
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n");
        Err(LabError::NotStarted {
            what: "the balancer".into(),
            why: format!("{}; its last words:\n{tail}", ending(status)),
        })
    }

    /// Waits until it has found every server, and tells how long that took.
    pub async fn ready(&mut self, teller: &mut Teller) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            self.runs()?;
            let members = self.api.members().await;
            if let Ok(members) = &members
                && !members.is_empty()
                && members.iter().all(|member| member.scheduled)
            {
                teller.say(&format!(
                    "The balancer runs, and has found all {} members of its services up after {:.1} s.",
                    members.len(),
                    start.elapsed().as_secs_f32()
                ));
                return Ok(());
            }
            if start.elapsed() > START_PATIENCE {
                let down: Vec<_> = members?.into_iter().filter(|m| !m.scheduled).map(|m| m.to_string()).collect();
                anyhow::bail!("after {START_PATIENCE:?} the balancer has not found: {}", down.join("; "));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Where the balancer on this machine writes what it says.
pub fn log_of(site: &Site, name: &str) -> PathBuf {
    site.dir().join(format!("{name}.log"))
}
