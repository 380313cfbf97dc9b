use super::*;
use crate::config::parse;

fn base() -> Running {
    let text = "interfaces: {ports: [eth0]}\nservers: {pc1: {address: 10.1.0.11}}\npools: {mx: {profile: smtp, members: [pc1]}}\n\
                virtual-servers: {mail: {addresses: [192.0.2.25], services: {smtp: {pool: mx, mode: dsr}}}}\n";
    Running::of(parse("lb.yaml", text).unwrap().config)
}

fn judged(lines: &[&str]) -> (Vec<Outcome>, Running) {
    judge(&base(), &Place::default(), lines)
}

fn words(outcome: &Outcome) -> String {
    match &outcome.result {
        Err(Why::Refused(words)) => words.clone(),
        Err(Why::NotUnderstood(no_match)) => no_match.to_string(),
        Ok(_) => String::new(),
    }
}

#[test]
fn of_many_lines_those_that_are_wrong_are_refused_alone() {
    let mut lines: Vec<String> = Vec::new();
    for n in 0..60 {
        lines.push(format!("server real s{n}"));
        // Every tenth has an address that another one has.
        lines.push(format!(" ip-address 10.2.0.{}", if n % 10 == 9 { 1 } else { n + 1 }));
        lines.push(if n % 20 == 5 { " wait 5" } else { " weight 5" }.to_owned());
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (outcomes, running) = judged(&lines);
    assert_eq!(outcomes.len(), lines.len());
    for (index, outcome) in outcomes.iter().enumerate() {
        let (n, line) = (index / 3, index % 3);
        let expected = match line {
            1 if n % 10 == 9 => format!(
                "10.2.0.1 belongs to server `s0` already; server `s{n}` cannot have it too; every address has one owner"
            ),
            2 if n % 20 == 5 => "% Invalid input detected at '^' marker.".to_owned(),
            _ => String::new(),
        };
        assert_eq!(words(outcome), expected, "line {index}: {}", lines[index]);
    }
    assert_eq!(running.config.servers.len(), 1 + 54);
    assert_eq!(running.inactive.len(), 6, "those without an address wait");
}

#[test]
fn lines_together_come_to_the_same_as_one_after_the_other() {
    let lines = [
        "server real pc2",
        "ip-address 10.1.0.12",
        "server pool mx",
        "member pc2 weight 3",
        "member pc9",
        "no member pc1",
        "server pool web",
        "profile http",
        "member pc1",
        "server virtual web",
        "service http",
        "pool web",
        "mode nat",
        "exit",
        "ip-address 192.0.2.25",
        "ip-address 192.0.2.80",
        "no server real pc1",
    ];
    let (together, running) = judged(&lines);
    let (mut one, mut place) = (base(), Place::default());
    let mut apart = Vec::new();
    for line in lines {
        let (outcome, next) = judge(&one, &place, &[line]);
        one = next;
        place = outcome[0].place.clone();
        apart.extend(outcome);
    }
    assert_eq!(together.iter().map(words).collect::<Vec<_>>(), apart.iter().map(words).collect::<Vec<_>>());
    assert_eq!(running, one);
    assert_eq!(running.inactive, []);
    let refused: Vec<&str> = lines.iter().zip(&together).filter(|(_, o)| o.result.is_err()).map(|(l, _)| *l).collect();
    assert_eq!(refused, ["member pc9", "ip-address 192.0.2.25", "no server real pc1"]);
}

#[test]
fn an_error_leaves_the_place_where_it_was() {
    let (outcomes, _) = judged(&["server pool mx", "member pc9", "nonsense"]);
    assert!(outcomes.iter().all(|outcome| outcome.place.shown() == "config-pool-mx"), "{outcomes:?}");
}
