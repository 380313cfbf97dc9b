//! The log of the daemon: where a line goes that is written down.
//!
//! ```text
//!   tracing ──┬─> terminal, or the journal under systemd
//!             ├─> the last lines, for `show logging` and `terminal monitor`
//!             └─> syslog servers
//! ```

pub mod syslog;

mod words;

use std::io::IsTerminal;

use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use words::Words;

/// Target of the lines that events of the event log write. Their fields `event_class`, `event_name` and `event_fields` are
/// for programs: the journal has them, people are spared them, syslog has the event itself.
pub const EVENT: &str = "lbd::event";

/// What is written down where nobody has said otherwise in `LBD_LOG`.
const FILTER: &str = "info,libbpf=warn";

/// Starts the log. `last` keeps what `show logging` shows.
pub fn init<W>(last: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_env("LBD_LOG").unwrap_or_else(|_| FILTER.into());
    let ansi = std::io::stderr().is_terminal();
    let terminal = || {
        let layer = fmt::layer().with_target(false).with_ansi(ansi).with_writer(std::io::stderr);
        layer.fmt_fields(Words).boxed()
    };
    // Where the journal does not take it, systemd has stderr there all the same.
    let journal = journal::is_stderr().then(tracing_journald::layer).and_then(Result::ok);
    let shown = match journal {
        Some(journal) => journal.with_syslog_identifier("lbd".to_owned()).with_field_prefix(None).boxed(),
        None => terminal(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(shown)
        .with(fmt::layer().with_target(false).with_ansi(false).with_writer(last).fmt_fields(Words))
        .with(syslog::layer())
        .init();
}

/// systemd's journal (sd-daemon(3), systemd.exec(5): `$JOURNAL_STREAM`).
mod journal {
    use std::os::fd::AsFd;

    use nix::sys::stat::fstat;

    /// Whether what is written to stderr goes to the journal: the variable alone may be of whoever started this.
    pub fn is_stderr() -> bool {
        let Ok(stat) = fstat(std::io::stderr().as_fd()) else { return false };
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        is(&stream, stat.st_dev, stat.st_ino)
    }

    fn is(stream: &str, device: u64, inode: u64) -> bool {
        stream.split_once(':').is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
    }

    #[cfg(test)]
    mod tests {
        use super::is;

        #[test]
        fn a_variable_that_is_about_another_file_is_not_believed() {
            assert!(is("8:4711", 8, 4711));
            for stream in ["", "8", "8:", ":4711", "9:4711", "8:4712", "8:4711:1", "a:b"] {
                assert!(!is(stream, 8, 4711), "{stream:?}");
            }
        }
    }
}
