//! `lbd nagios`: a check in the convention of the Monitoring Plugins (their Development Guidelines, sections 1 to 4): one
//! line with performance data, exit status 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. What could not be asked is UNKNOWN.
//!
//! `ask` fetches the state by HTTP, on the box or from another machine; `judge` is pure and says what it means; `range` and
//! `line` are the notation.

mod ask;
mod judge;
mod line;
mod range;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

pub use line::Verdict;
pub use range::Range;

use judge::Thresholds;

/// How the state is asked for, and what is good.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand, Clone, Debug)]
enum Subject {
    /// The servers of a pool that are up. By default fewer than all is a warning, and none is critical.
    Pool {
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// The members that take new connections, of that service of the virtual server which has fewest. By default fewer than
    /// two of several is a warning, and none is critical.
    VirtualServer {
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// Who owns, whether the other box could, and the paths on which they hear each other. By default fewer paths than there
    /// are is a warning, and none is critical.
    Pair {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args, Clone, Debug)]
struct Common {
    /// A warning if the number is outside this range: `10`, `10:`, `~:10`, `10:20`, or inside: `@10:20`.
    #[arg(short, long, value_parser = Range::new)]
    warning: Option<Range>,
    /// The same, critical.
    #[arg(short, long, value_parser = Range::new)]
    critical: Option<Range>,
    /// UNKNOWN after so many seconds, 1 to 300.
    #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
    /// Where the box is asked: http:// on loopback, https:// elsewhere.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// File whose first line is a token, of level 1 or higher.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// File of the certificates that the box's must lead to.
    #[arg(long, default_value = "/etc/ssl/certs/ca-certificates.crt")]
    ca: PathBuf,
}

/// Asks, judges, and says what to print.
pub fn run(options: Options) -> Verdict {
    let (what, common) = match &options.subject {
        Subject::Pool { common, .. } => ("POOL", common),
        Subject::VirtualServer { common, .. } => ("VIRTUAL-SERVER", common),
        Subject::Pair { common } => ("PAIR", common),
    };
    let asked = ask::Asked { url: common.url.clone(), token_file: common.token_file.clone(), ca: common.ca.clone() };
    let state = match ask::state(asked, Duration::from_secs(common.timeout)) {
        Ok(state) => state,
        Err(why) => return Verdict::unknown(&why).about(what),
    };
    let thresholds = Thresholds { warning: common.warning, critical: common.critical };
    let verdict = match &options.subject {
        Subject::Pool { name, .. } => judge::pool(&state, name, thresholds),
        Subject::VirtualServer { name, .. } => judge::virtual_server(&state, name, thresholds),
        Subject::Pair { .. } => judge::pair(&state, thresholds),
    };
    verdict.about(what)
}
