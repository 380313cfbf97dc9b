//! `lbd`: the commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use lbd::access;
use lbd::cli;
use lbd::config::{Date, Name, yaml};
use lbd::daemon;
use lbd::lab;
use lbd::nagios;
use lbd::os::log;
use lbd::pair::key::{self, KeyId};

#[derive(Parser)]
#[command(name = "lbd", version, about = "Layer-4 load balancer and health checker on XDP")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the appliance in the foreground, in this network namespace.
    Run {
        /// Configuration, YAML; docs/configuration.md has every key.
        #[arg(long, default_value = "/etc/lbd/lb.yaml")]
        config: PathBuf,
        /// What survives a reboot: administrative state.
        #[arg(long, default_value = "/var/lib/lbd")]
        state_dir: PathBuf,
        /// What lives until the next boot: the lock, and the pinned data plane.
        #[arg(long, default_value = "/run/lbd")]
        run_dir: PathBuf,
    },
    /// Validate a configuration and exit: 0 if it would be taken, 1 if not.
    Check {
        #[arg(long, default_value = "/etc/lbd/lb.yaml")]
        config: PathBuf,
    },
    /// End a data plane that runs on without its daemon, and its connections with it.
    Stop {
        #[arg(long, default_value = "/run/lbd")]
        run_dir: PathBuf,
    },
    /// Print a new line for the key file of a pair. Both boxes get the same file, which root alone may read.
    PairKey {
        /// Number of the key; another one than that of any key in the file.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
        id: u8,
    },
    /// Print the hash of a password, for `secret` and `enable-secret` of the configuration. The password is asked for,
    /// or is the first line of the input.
    Secret,
    /// Make a token for a program that asks the HTTP interface. It is printed once, with what the configuration has of it.
    Token {
        /// What it is called in the configuration, and in the log of what is done with it.
        name: String,
        /// 0 reads the metrics, 1 looks, 7 orders about servers and the pair, 15 does everything.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=15))]
        level: u8,
        /// The last day on which it is good, in UTC, such as 2027-01-31.
        #[arg(long, value_parser = Date::new)]
        expires: Option<Date>,
    },
    /// The command line of the appliance, for root on the box itself: a session, or one command, `lbd console show
    /// server real`.
    Console {
        #[arg(long, default_value = "/run/lbd")]
        run_dir: PathBuf,
        /// A command; its exit status is 1 if it was refused.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// A check for Nagios, Icinga and the like: one line with performance data; exit status 0 OK, 1 WARNING, 2 CRITICAL, 3
    /// UNKNOWN. docs/nagios.md has the definitions.
    Nagios(nagios::Options),
    /// Print the module of the balancer's SNMP objects, for those who read them: `lbd mib >/usr/share/snmp/mibs/LBD-MIB.txt`.
    Mib,
    Lab(lab::LabOptions),
    #[command(hide = true)]
    LabServer(lab::servers::ServerArgs),
    #[command(hide = true)]
    LabKeeper(lab::real::keeper::KeeperArgs),
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return misused(&error),
    };
    let result = match command {
        Command::Run { config, state_dir, run_dir } => run(daemon::Options { config, state_dir, run_dir }),
        Command::Check { config } => return check(&config),
        Command::Nagios(options) => {
            let verdict = nagios::run(options);
            println!("{verdict}");
            return ExitCode::from(verdict.exit_status());
        }
        Command::Lab(options) => match lab::run(options) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::LabServer(args) => lab_server(args),
        Command::LabKeeper(args) => match lab::real::keeper::keep(args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Console { run_dir, words } => match console(&run_dir, &words) {
            // A thread may still wait for a key: nothing is lost with it.
            Ok(status) => std::process::exit(status.into()),
            Err(error) => Err(error),
        },
        Command::PairKey { id } => pair_key(id),
        Command::Secret => secret(),
        Command::Token { name, level, expires } => token(&name, level, expires),
        Command::Mib => {
            print!("{}", lbd::snmp::module());
            Ok(())
        }
        Command::Stop { run_dir } => daemon::stop(&run_dir),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A plugin that is called in a wrong way, or asked for its help, is UNKNOWN; its convention has no other word for it.
fn misused(error: &clap::Error) -> ExitCode {
    if std::env::args_os().nth(1).is_none_or(|word| word != "nagios") {
        error.exit();
    }
    let text = error.to_string();
    if error.use_stderr() {
        println!("LBD UNKNOWN - {}", text.lines().next().unwrap_or_default());
    }
    print!("{text}");
    ExitCode::from(3)
}

fn run(options: daemon::Options) -> anyhow::Result<()> {
    log::init(cli::monitor::writer);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(daemon::run(options))
}

fn console(run_dir: &std::path::Path, words: &[String]) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(cli::console::client::run(run_dir, words));
    // The thread that reads keys ends with the process.
    runtime.shutdown_background();
    status
}

fn pair_key(id: u8) -> anyhow::Result<()> {
    print!("{}", *key::new_line(KeyId(id))?);
    Ok(())
}

fn secret() -> anyhow::Result<()> {
    let password = cli::console::client::read_password()?;
    println!("{}", access::secrets::hash(&password).map_err(anyhow::Error::msg)?.as_str());
    Ok(())
}

fn token(name: &str, level: u8, expires: Option<Date>) -> anyhow::Result<()> {
    let name = Name::new(name).map_err(anyhow::Error::msg)?;
    let (token, hash) = access::token::new().map_err(anyhow::Error::msg)?;
    let expires = expires.map_or(String::new(), |day| format!(", expires: {day}"));
    println!("{}", *token);
    println!("# Nobody can show it again. In the configuration, under `tokens` of `http`:");
    println!("# {name}: {{hash: \"{hash}\", level: {level}{expires}}}");
    Ok(())
}

fn lab_server(args: lab::servers::ServerArgs) -> anyhow::Result<()> {
    // Four of these share a machine with the balancer and the customers.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(lab::servers::serve(args))
}

fn check(config: &std::path::Path) -> ExitCode {
    match yaml::load(config) {
        Ok(loaded) => {
            eprint!("{}", loaded.render_warnings());
            println!("{}: valid", config.display());
            ExitCode::SUCCESS
        }
        Err(refused) => {
            eprintln!("{refused}");
            ExitCode::FAILURE
        }
    }
}
