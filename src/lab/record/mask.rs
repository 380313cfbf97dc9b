//! What differs from one recording to the next becomes a `*`, so that the same build records the same text.
//!
//! - In a table, whatever stands in one of the columns [`VOLATILE`]; the table is laid out anew.
//! - Elsewhere, times that are measured: `after 294 µs`, `uptime is 5s`, `for 12s`, `heard 80 ms ago`.
//! - The port of a client, which its system chose.
//! - How many changes a standby was told.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Columns of times and counts.
const VOLATILE: [&str; 17] = [
    "Since", "Next", "Good", "p50", "p99", "Idle", "Ends in", "Deadline", "Sent", "Received", "Lost", "Refused",
    "Delay", "Rx-pkts", "Tx-pkts", "Rx-bytes", "Tx-bytes",
];

static MEASURED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let time = r"\d+(?:\.\d+)? ?(?:µs|ms|min|s|m|h|d)(?:\d+s|\d+m)?(?: \d+ s)?\b";
    Regex::new(&format!(r"\b(after|uptime is|for|heard|took|in) {time}|\b{time}( ago)")).ok()
});
/// Right-aligned in a line of fixed columns.
static ALIGNED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"  +\d+(?:\.\d+)?(?:s|m\d+s|h\d+m)").ok());
static CLIENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(\b203\.0\.113\.\d+:)(\d+)( *)").ok());
static TOLD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\d+(?:\.\d+)?k? changes taken").ok());

/// An answer, as it is kept.
pub fn masked(answer: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut rest = answer;
    while let Some((line, later)) = rest.split_first() {
        rest = later;
        match later.split_first() {
            Some((rule, rows)) if is_rule(rule) => {
                let length = rows.iter().take_while(|row| !row.is_empty()).count();
                let (rows, later) = rows.split_at(length);
                out.extend(table(line, rule, rows));
                rest = later;
            }
            _ => out.push(masked_line(line)),
        }
    }
    out
}

/// `----  ---`, under the head of a table.
fn is_rule(line: &str) -> bool {
    line.starts_with('-') && line.chars().all(|c| c == '-' || c == ' ')
}

fn masked_line(line: &str) -> String {
    let mut line = line.to_owned();
    if let Some(client) = CLIENT.as_ref()
        && client.is_match(&line)
    {
        // Behind it, in a row of connections, are columns with times.
        line = client
            .replace_all(&line, |found: &Captures<'_>| format!("{}{}", &found[1], star(&found[0][found[1].len()..])))
            .into();
        if let Some(aligned) = ALIGNED.as_ref() {
            line = aligned.replace_all(&line, |found: &Captures<'_>| right(&found[0])).into();
        }
    }
    if let Some(measured) = MEASURED.as_ref() {
        line = measured
            .replace_all(&line, |found: &Captures<'_>| match (found.get(1), found.get(2)) {
                (Some(word), _) => format!("{} *", word.as_str()),
                _ => "* ago".to_owned(),
            })
            .into();
    }
    if let Some(told) = TOLD.as_ref() {
        line = told.replace_all(&line, "* changes taken").into();
    }
    line
}

/// As wide as it was, at its left.
fn star(text: &str) -> String {
    format!("{:width$}", "*", width = text.chars().count())
}

/// As wide as it was, at its right.
fn right(text: &str) -> String {
    format!("{:>width$}", "*", width = text.chars().count())
}

fn table(head: &str, rule: &str, rows: &[String]) -> Vec<String> {
    let starts: Vec<usize> = {
        let marks: Vec<char> = rule.chars().collect();
        (0..marks.len()).filter(|at| marks[*at] == '-' && (*at == 0 || marks[*at - 1] == ' ')).collect()
    };
    let cells = |line: &str| -> Vec<String> {
        let line: Vec<char> = line.chars().collect();
        let end = |number: usize| starts.get(number + 1).map_or(line.len(), |next| (*next).min(line.len()));
        starts
            .iter()
            .enumerate()
            .map(|(n, start)| line.get(*start..end(n)).unwrap_or_default().iter().collect())
            .collect()
    };
    let raw: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(String::as_str)).map(cells).collect();
    let columns: Vec<Vec<String>> = (0..starts.len())
        .map(|column| {
            let cells = raw.iter().map(|row| row.get(column).map_or("", String::as_str));
            let (head, is_right) =
                (cells.clone().next().unwrap_or("").trim(), cells.clone().any(|c| c.starts_with(' ')));
            let volatile = VOLATILE.contains(&head);
            let text = |(row, cell): (usize, &str)| match cell.trim() {
                "" => String::new(),
                _ if volatile && row > 0 => "*".to_owned(),
                cell => masked_line(cell),
            };
            let cells: Vec<String> = cells.enumerate().map(text).collect();
            let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
            let mut cells: Vec<String> = cells
                .iter()
                .map(|cell| if is_right || volatile { format!("{cell:>width$}") } else { format!("{cell:width$}") })
                .collect();
            cells.insert(1.min(cells.len()), "-".repeat(width));
            cells
        })
        .collect();
    let height = columns.first().map_or(0, Vec::len);
    let row = |row: usize| columns.iter().filter_map(|column| column.get(row).cloned()).collect::<Vec<_>>().join("  ");
    (0..height).map(|n| row(n).trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        masked(&text.lines().map(str::to_owned).collect::<Vec<_>>()).join("\n")
    }

    #[test]
    fn two_recordings_of_a_table_are_the_same_whatever_its_figures() {
        let one = "Server  State  Since    p50  Last result\n\
                   ------  -----  -----  -----  --------------------------\n\
                   pc2     up        5s  12 ms  http: 200 OK, after 294 µs\n";
        let two = "Server  State    Since     p50  Last result\n\
                   ------  -----  -------  ------  --------------------------\n\
                   pc2     up     1h05m00  0.4 ms  http: 200 OK, after 1.2 ms\n";
        let both = "Server  State  Since  p50  Last result\n\
                    ------  -----  -----  ---  ---------------------\n\
                    pc2     up         *    *  http: 200 OK, after *";
        assert_eq!((of(one), of(two)), (both.to_owned(), both.to_owned()));
    }

    #[test]
    fn times_that_are_measured_go_and_those_that_are_configured_stay() {
        for (line, kept) in [
            ("lb1 uptime is 1m05s; it loaded its data plane", "lb1 uptime is *; it loaded its data plane"),
            (
                "Peer: standby, heard 80 ms ago; configuration the same",
                "Peer: standby, heard * ago; configuration the same",
            ),
            ("are taken back in 4 min 59 s unless", "are taken back in * unless"),
            ("     1    0s ago", "     1    * ago"),
            ("This box: active for 12s, owns", "This box: active for *, owns"),
            ("imap every 500ms, time-out 300ms, rise 2", "imap every 500ms, time-out 300ms, rise 2"),
            ("Sync: complete, 12.3k changes taken", "Sync: complete, * changes taken"),
        ] {
            assert_eq!(of(line), kept);
        }
    }

    #[test]
    fn a_row_of_connections_keeps_its_columns() {
        let one = "tcp  203.0.113.10:43210    192.0.2.90:143        pc5          established      3s      9s";
        let two = "tcp  203.0.113.10:1024     192.0.2.90:143        pc5          established     12s   1m02s";
        let both = "tcp  203.0.113.10:*        192.0.2.90:143        pc5          established       *       *";
        assert_eq!((of(one), of(two)), (both.to_owned(), both.to_owned()));
    }
}
