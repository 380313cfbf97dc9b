//! Commands in the convention of Nagios plugins (Monitoring Plugins Development Guidelines, section 2): what is put
//! into their arguments, and what their exit status and first line of output say.

use super::words::shown;
use crate::core::check::{Failure, FailureKind, Verdict};
use crate::core::target::Question;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    /// By a signal that was not sent at its timeout.
    Killed(i32),
}

/// The exit statuses with a meaning.
const OK: i32 = 0;
const WARNING: i32 = 1;

/// Program and arguments with `{address}`, `{port}` and `{server}` replaced: what is probed, and the server's own
/// address, which is another one in direct server return. What is put in is not looked at again.
pub fn arguments(command: &[String], question: &Question) -> Vec<String> {
    let server = question.via.as_ref().map_or(question.address.ip(), |via| via.address);
    let values = [
        ("{address}", question.address.ip().to_string()),
        ("{port}", question.address.port().to_string()),
        ("{server}", server.to_string()),
    ];
    command.iter().map(|argument| replaced(argument, &values)).collect()
}

fn replaced(argument: &str, values: &[(&str, String)]) -> String {
    let mut result = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        result.push_str(before);
        let found = values.iter().find_map(|(name, value)| Some((value.as_str(), behind.strip_prefix(name)?)));
        let (text, next) = found.unwrap_or_else(|| behind.split_at(1));
        result.push_str(text);
        rest = next;
    }
    result.push_str(rest);
    result
}

/// 0 and 1 are up; 2 (critical), 3 (unknown), any other status and a signal are not. The words are the first line
/// of output, up to the performance data behind `|`.
pub fn verdict(end: End, output: &[u8]) -> Verdict {
    let line = output.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = line.split(|byte| *byte == b'|').next().unwrap_or_default();
    let text = shown(text.trim_ascii());
    let with = |how: String| if text.is_empty() { format!("{how}, no output") } else { format!("{text} ({how})") };
    match end {
        End::Exited(OK) if text.is_empty() => Verdict::Success("exit status 0".into()),
        End::Exited(OK) => Verdict::Success(text),
        End::Exited(WARNING) if text.is_empty() => Verdict::Success("warning, no output".into()),
        End::Exited(WARNING) => Verdict::Success(text),
        End::Exited(status) => Verdict::failure(FailureKind::Script, with(format!("exit status {status}"))),
        End::Killed(signal) => Verdict::failure(FailureKind::Script, with(format!("ended by signal {signal}"))),
    }
}

/// The command was still running, and was killed. `output` is what it had written.
pub fn timed_out(output: &[u8]) -> Failure {
    let line = output.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words = match shown(line.trim_ascii()) {
        text if text.is_empty() => "the command did not end, and was killed".to_owned(),
        text => format!("the command did not end, and was killed; it said: {text}"),
    };
    Failure { kind: FailureKind::Hung, words }
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
