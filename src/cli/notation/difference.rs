//! What one configuration says and another one does not, in commands.
//!
//! A line means the same wherever it stands in its object: order is not compared.

use std::collections::{BTreeMap, BTreeSet};

/// A line below the lines that it belongs to.
type Placed<'l> = Vec<&'l str>;

/// Lines that only `to` has with `+` before them, those that only `from` has with `-`, below the lines that they
/// belong to.
pub fn between(from: &[String], to: &[String]) -> Vec<String> {
    let (from, to) = (placed(from), placed(to));
    let (in_from, in_to): (BTreeSet<&Placed>, BTreeSet<&Placed>) = (from.iter().collect(), to.iter().collect());
    let gone = from.iter().filter(|line| !in_to.contains(line)).map(|line| ('-', line));
    let new = to.iter().filter(|line| !in_from.contains(line)).map(|line| ('+', line));
    let mut changed: Vec<(char, &Placed)> = gone.chain(new).collect();
    // What is of one object stands together where it stood first, what is gone before what is new.
    let mut places: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for (place, line) in from.iter().chain(&to).enumerate() {
        places.entry(line.first().copied()).or_insert(place);
    }
    changed.sort_by_key(|(_, line)| places.get(&line.first().copied()));
    let mut out = Vec::new();
    let mut above: Vec<&str> = Vec::new();
    for (sign, line) in changed {
        let Some((last, head)) = line.split_last() else { continue };
        let common = head.iter().zip(&above).take_while(|(own, shown)| own == shown).count();
        for (depth, context) in head.iter().enumerate().skip(common) {
            out.push(format!(" {:depth$}{context}", ""));
        }
        out.push(format!("{sign}{:depth$}{last}", "", depth = head.len()));
        above = line.clone();
    }
    out
}

/// Each line with those that it is indented below; without comments.
fn placed(lines: &[String]) -> Vec<Placed<'_>> {
    let mut above: Placed = Vec::new();
    let mut out = Vec::new();
    for line in lines.iter().filter(|line| !line.trim_start().starts_with('!')) {
        let depth = line.len() - line.trim_start().len();
        above.truncate(depth);
        above.push(line.trim_start());
        out.push(above.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_stand_below_what_they_belong_to() {
        let from = lines("hostname lb1\nserver real a\n ip-address 10.0.0.1\n!\nserver pool mx\n member a\n port 25");
        let to = lines("hostname lb2\nserver pool mx\n port 25\n member b\n!\nserver real b\n ip-address 10.0.0.2");
        assert_eq!(
            between(&from, &to),
            [
                "-hostname lb1",
                "-server real a",
                "- ip-address 10.0.0.1",
                " server pool mx",
                "- member a",
                "+ member b",
                "+hostname lb2",
                "+server real b",
                "+ ip-address 10.0.0.2",
            ]
        );
    }

    #[test]
    fn the_same_in_another_order_is_no_difference() {
        assert_eq!(between(&lines("a\n x\n y\n!\nb"), &lines("b\n!\na\n y\n x")), Vec::<String>::new());
    }
}
