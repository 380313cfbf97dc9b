//! `lbd lab`: builds the mail site, shows it, and takes it down again.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::balancer;
use super::claim;
use super::customer::{self, Visit};
use super::host::Host;
use super::mail::{self, BALANCER, CLIENT, MailSite, OFFERS};
use super::process::raise_file_limit;
use super::real::{self, RealSite, packages};
use super::record;
use super::servers::Kind;
use super::tell::Teller;
use super::tour;
use super::window::Window;

/// Show a whole site on this machine, in network namespaces.
///
/// A client, a router, the balancer and four PCs with small mail servers. Needs root. Ctrl-C takes it down.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LabOptions {
    /// What the PCs run: small servers that name themselves, or the site's true software, which is installed
    /// from Debian packages if it is missing: Exim, Courier, Apache, FreeRADIUS, BIND.
    #[arg(long, value_enum, default_value_t = Servers::Simulated)]
    pub servers: Servers,
    /// With real servers: lets every fault befall one of each kind so many times, and prints how long the
    /// balancer took to see it. Part of the tour, where it is once.
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub faults: Option<u16>,
    /// Plays a scripted visit, checks all that it says, and ends with its verdict.
    #[arg(long)]
    pub tour: bool,
    /// After the tour, leaves the lab up until Ctrl-C.
    #[arg(long, requires = "tour")]
    pub stay: bool,
    /// Types the documentation's sessions at the command line, and writes them into this directory: `docs`.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["tour", "bare", "faults", "servers"])]
    pub record: Option<PathBuf>,
    /// Only network and servers, without the balancer.
    #[arg(long, conflicts_with = "tour")]
    pub bare: bool,
    #[command(subcommand)]
    pub action: Option<LabAction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Servers {
    Simulated,
    Real,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum LabAction {
    /// Plays customers in a lab that runs: connects, and shows who answered.
    Customer(CustomerArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct CustomerArgs {
    /// smtp, pop3, imap, http, dns, radius or echo.
    pub kind: Kind,
    /// Address and port, `192.0.2.25:25` or `[2001:db8::25]:25`.
    pub target: SocketAddr,
    /// How many connections.
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// By UDP (DNS and echo).
    #[arg(long)]
    pub udp: bool,
    /// From 200 addresses instead of one.
    #[arg(long)]
    pub many: bool,
    /// Which lab, if several run: the number in its namespaces' names.
    #[arg(long)]
    pub lab: Option<String>,
}

/// Runs the command; the exit code is the tour's or the customer's verdict.
pub fn run(options: LabOptions) -> anyhow::Result<ExitCode> {
    raise_file_limit()?;
    // Everything happens on this thread, or on threads inside the hosts.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Listening from here on: a signal during the set-up is seen at the next wait, and all is removed.
        let ended = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        let [mut interrupt, mut terminate, mut hangup] = ended;
        let (interrupt, terminate, hangup) = (interrupt.as_mut(), terminate.as_mut(), hangup.as_mut());
        let (Ok(interrupt), Ok(terminate), Ok(hangup)) = (interrupt, terminate, hangup) else {
            bail!("cannot listen for signals");
        };
        tokio::select! {
            result = perform(options) => result,
            _ = interrupt.recv() => { eprintln!("\ntaking the lab down"); Ok(ExitCode::from(130)) }
            _ = terminate.recv() => Ok(ExitCode::from(143)),
            _ = hangup.recv() => Ok(ExitCode::from(129)),
        }
    })
}

async fn perform(options: LabOptions) -> anyhow::Result<ExitCode> {
    if let Some(LabAction::Customer(args)) = options.action {
        return play_customer(args).await;
    }
    let program = std::env::current_exe().context("cannot find the lbd program itself")?;
    let mut teller = Teller::new(std::io::stderr().is_terminal());
    if options.servers == Servers::Real {
        return perform_real(options, &program, &mut teller).await;
    }
    if let Some(docs) = options.record {
        record::record(&docs, &program, &mut teller).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.faults.is_some() {
        bail!("--faults needs real servers: add --servers real");
    }
    let mut lab = build(&program, &mut teller)?;
    if options.bare {
        lab.write_config()?;
        println!("{}", guide(&lab, None));
        return std::future::pending().await;
    }
    lab.start_balancer()?.ready(&mut teller).await?;
    let verdict = !options.tour || tour::tour(&mut lab, &program, &mut teller).await?;
    if options.stay || !options.tour {
        let window = show(lab.site.host(BALANCER)?).await?;
        println!("{}", guide(&lab, Some(window)));
        return watch_over(&mut lab).await;
    }
    Ok(if verdict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn perform_real(options: LabOptions, program: &Path, teller: &mut Teller) -> anyhow::Result<ExitCode> {
    packages::install_missing()?;
    let start = std::time::Instant::now();
    let mut site = RealSite::start(program)?;
    let took = start.elapsed().as_secs_f32();
    teller.say(&format!("The site is up: Exim, Courier, Apache, FreeRADIUS and BIND on four PCs, in {took:.1} s."));
    if options.bare {
        site.write_config()?;
        println!("{}", real::tour::guide(&site, None));
        return std::future::pending().await;
    }
    site.start_balancer()?.ready(teller).await?;
    let rounds = options.faults.unwrap_or(1);
    let plays = options.tour || options.faults.is_some();
    let verdict = !plays || real::tour::tour(&mut site, teller, rounds.into()).await?;
    if options.stay || !plays {
        let window = show(site.site.host(BALANCER)?).await?;
        println!("{}", real::tour::guide(&site, Some(window)));
        loop {
            site.balancer_runs()?;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
    Ok(if verdict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// From now on this machine's browsers see the balancer's page; where.
async fn show(balancer: &Host) -> anyhow::Result<SocketAddr> {
    let window = Window::open().await.context("a port for the balancer's page")?;
    let address = window.address();
    tokio::spawn(window.show(balancer.clone()));
    Ok(address)
}

/// What a guide says of the page. None: there is no balancer.
pub(super) fn words_of(window: Option<SocketAddr>) -> String {
    window.map_or_else(String::new, |at| {
        format!(
            "
Look at it from this machine (page, API, metrics; nobody is asked who he is):

    http://{at}/
    curl http://{at}/metrics
"
        )
    })
}

/// Stays until the balancer ends, which it should not.
async fn watch_over(lab: &mut MailSite) -> anyhow::Result<ExitCode> {
    loop {
        lab.balancer_runs()?;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

fn build(program: &Path, teller: &mut Teller) -> anyhow::Result<MailSite> {
    let start = std::time::Instant::now();
    let lab = MailSite::start(program)?;
    let hosts = lab.site.hosts().count();
    teller.say(&format!(
        "The site is up: {hosts} machines, cabled and serving, in {:.1} s.",
        start.elapsed().as_secs_f32()
    ));
    Ok(lab)
}

/// Where everything is, and what to try.
fn guide(lab: &MailSite, window: Option<SocketAddr>) -> String {
    let id = lab.site.id();
    let mut text = format!(
        "
                    203.0.113.0/24        192.0.2.0/24 (virtual IPs), 10.1.0.0/24 (servers)
    client ──────────────── router ──────────────── lb1 ─┬─ p1 ─ pc1  10.1.0.11  MX, DNS, RADIUS
    203.0.113.10             .1 │ 192.0.2.1     192.0.2.2 ├─ p2 ─ pc2  10.1.0.12  mailboxes, webmail
    2001:db8:c::10              │ 10.1.0.254    10.1.0.2  ├─ p3 ─ pc3  10.1.0.13  as pc1
                                                          └─ p4 ─ pc4  10.1.0.14  as pc2

Each machine is a network namespace, lbd-{id}-<name>. The services:

"
    );
    for offer in OFFERS {
        let protocol = if offer.udp { "udp" } else { "tcp" };
        text += &format!(
            "    {:9} {:12} {protocol} {:18} {:22} {:8} {}\n",
            offer.virtual_server,
            offer.service(),
            offer.address4().to_string(),
            offer.address6().to_string(),
            offer.mode,
            offer.servers().join(", ")
        );
    }
    text += &words_of(window);
    text += &format!(
        "
Play the customer (`lbd` as root, in another terminal):

    lbd lab customer smtp 192.0.2.25:25 -n 1000          # who answers?
    lbd lab customer imap '[2001:db8::110]:143' --many   # from 200 addresses
    nsenter --net=/run/netns/lbd-{id}-{CLIENT} curl http://192.0.2.80/
    nsenter --net=/run/netns/lbd-{id}-{CLIENT} nc 192.0.2.25 25

Be the operator:

    nsenter --net=/run/netns/lbd-{id}-{CLIENT} {}      # the command line; ? helps
    lbd console --run-dir {}      # the same without SSH
    nsenter --net=/run/netns/lbd-{id}-{BALANCER} tcpdump -i br0     # what XDP leaves to the bridge

Pull a cable:  ip -n lbd-{id}-pc1 link set eth0 down
Configuration: {}
Log:           {}

Ctrl-C takes everything down.",
        lab.operator.words(BALANCER),
        lab.site.dir().join("lb1-run").display(),
        lab.config_file().display(),
        balancer::log_of(&lab.site, BALANCER).display()
    );
    text
}

async fn play_customer(args: CustomerArgs) -> anyhow::Result<ExitCode> {
    let lab = match args.lab {
        Some(lab) => lab,
        None => the_lab()?,
    };
    let client = Host::open(CLIENT, &format!("lbd-{lab}-{CLIENT}"))?;
    let mut visit = Visit::new(args.kind, args.target).times(usize::try_from(args.count)?);
    visit.udp |= args.udp;
    if args.many {
        visit.from = mail::customers(args.target.is_ipv6());
    }
    let tally = client.run(move || customer::visit(visit, |_| {})).await?;
    for (server, count) in &tally.served {
        println!("{count:>8}  {server}");
    }
    for (why, count) in &tally.failed {
        println!("{count:>8}  failed: {why}");
    }
    println!("in {:.2} s; the median took {:.1} ms", tally.took.as_secs_f64(), tally.median.as_secs_f64() * 1e3);
    Ok(if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The only lab that runs.
fn the_lab() -> anyhow::Result<String> {
    let labs = claim::living()?;
    match labs.as_slice() {
        [lab] => Ok(lab.clone()),
        [] => bail!("no lab runs on this machine: start one with `lbd lab`"),
        labs => bail!("several labs run: choose one with --lab: {}", labs.join(", ")),
    }
}
