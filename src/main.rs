use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Lab(lbd::lab::LabOptions),
    #[command(hide = true)]
    LabServer(lbd::lab::servers::ServerArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Lab(options) => lbd::lab::run(options),
        Command::LabServer(args) => {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?
                .block_on(lbd::lab::servers::serve(args))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
