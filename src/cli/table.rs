//! Aligned tables that people read, and units for figures in them.

use std::time::Duration;

/// How the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows of cells under a head. The last column takes what the terminal has left, and is cut there.
#[derive(Debug)]
pub struct Table {
    head: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    pub fn new(head: &[(&'static str, Align)]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// One cell for each column; what is missing is empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().take(self.head.len()).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Lines that are not wider than `width`; 0 is no limit.
    pub fn lines(&self, width: usize) -> Vec<String> {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let head = self.head.get(column).map_or(0, |(text, _)| text.len());
                let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
                cells.fold(head, usize::max)
            })
            .collect();
        let head = self.head.iter().map(|(text, _)| (*text).to_owned()).collect();
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
        [&head, &rule].into_iter().chain(&self.rows).map(|row| self.line(row, &widths, width)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize], most: usize) -> String {
        let mut line = String::new();
        for (column, (width, (_, align))) in widths.iter().zip(&self.head).enumerate() {
            let cell = row.get(column).map_or("", String::as_str);
            if column > 0 {
                line.push_str(GAP);
            }
            match align {
                Align::Left => line.push_str(&format!("{cell:width$}")),
                Align::Right => line.push_str(&format!("{cell:>width$}")),
            }
        }
        let line = line.trim_end();
        if most > 0 && line.chars().count() > most {
            let kept: String = line.chars().take(most.saturating_sub(1)).collect();
            return format!("{kept}~");
        }
        line.to_owned()
    }
}

/// `987`, `12.3k`, `4.56M`: three digits or more that count.
pub fn count(number: u64) -> String {
    scaled(number, &["", "k", "M", "G", "T", "P", "E"])
}

/// `987 B`, `12.3 kB`, `4.56 MB`, in powers of 1,000.
pub fn bytes(number: u64) -> String {
    scaled(number, &[" B", " kB", " MB", " GB", " TB", " PB", " EB"])
}

fn scaled(number: u64, units: &[&str]) -> String {
    let mut value = number as f64;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    if number < 10_000 {
        return format!("{number}{unit}");
    }
    // What would round up to a thousand goes on to the next unit.
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        value /= 1_000.0;
        unit = next;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$}{unit}")
}

/// `45s`, `12m03s`, `5h12m`, `3d04h`, `2y101d`.
pub fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let [minutes, hours, days] = [60, 3_600, 86_400].map(|unit| seconds / unit);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        (..365, ..) => format!("{days}d{:02}h", hours % 24),
        _ => format!("{}y{:03}d", days / 365, days % 365),
    }
}

/// `0.4 ms`, `12 ms`, `1.23 s`.
pub fn span(seconds: f64) -> String {
    let ms = seconds * 1e3;
    if ms < 9.95 {
        format!("{ms:.1} ms")
    } else if ms < 999.5 {
        format!("{ms:.0} ms")
    } else {
        format!("{seconds:.2} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("Name", Align::Left), ("Conn", Align::Right), ("Why", Align::Left)]);
        table.row(["mx1".into(), "12".into(), "banner 220".into()]);
        table.row(["a-long-name".into(), "12345".into()]);
        table
    }

    #[test]
    fn columns_stand_under_each_other() {
        assert_eq!(
            table().lines(0),
            [
                "Name          Conn  Why",
                "-----------  -----  ----------",
                "mx1             12  banner 220",
                "a-long-name  12345",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_what_is_cut_shows_it() {
        let lines = table().lines(24);
        assert!(lines.iter().all(|line| line.chars().count() <= 24), "{lines:?}");
        assert_eq!(lines[2], "mx1             12  ban~");
    }

    #[test]
    fn figures_keep_three_digits_that_count() {
        for (number, expected) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (99_949, "99.9k"),
            (99_950, "100k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (1_234_567, "1.23M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(count(number), expected, "{number}");
        }
        assert_eq!((bytes(12), bytes(65_536)), ("12 B".into(), "65.5 kB".into()));
    }

    #[test]
    fn ages_and_times_have_the_unit_that_matters() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (723, "12m03s"),
            (18_720, "5h12m"),
            (273_600, "3d04h"),
            (365 * 86_400 * 2 + 86_400, "2y001d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), expected);
        }
        for (seconds, expected) in [(0.0004, "0.4 ms"), (0.0123, "12 ms"), (1.234, "1.23 s")] {
            assert_eq!(span(seconds), expected);
        }
    }
}
