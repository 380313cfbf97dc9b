use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(hide = true)]
    LabServer(lbd::lab::servers::ServerArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::LabServer(args) => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?
            .block_on(lbd::lab::servers::serve(args)),
    }
}
