use std::sync::Arc;

use super::*;
use crate::config::{Name, Probe, ScriptProbe};
use crate::core::target::Via;

fn question(at: &str, via: Option<&str>) -> Question {
    let via = via.map(|address| Via { server: Name::new("pc1").unwrap(), address: address.parse().unwrap() });
    let probe = Arc::new(Probe::Script(ScriptProbe { command: Vec::new() }));
    Question { address: at.parse().unwrap(), via, probe }
}

fn put_in(argument: &str, question: &Question) -> String {
    arguments(&[argument.to_owned()], question).concat()
}

#[test]
fn what_is_probed_is_put_into_the_arguments() {
    let own = question("10.1.0.25:25", None);
    assert_eq!(put_in("{address}:{port}", &own), "10.1.0.25:25");
    assert_eq!(put_in("{server}", &own), "10.1.0.25");
    let behind = question("[2001:db8::25]:25", Some("2001:db8::1"));
    assert_eq!(put_in("-H{address} -p {port} -s{server}", &behind), "-H2001:db8::25 -p 25 -s2001:db8::1");
    let command = ["/bin/check".to_owned(), "{port}".into(), "{port}{port}".into()];
    assert_eq!(arguments(&command, &own), ["/bin/check", "25", "2525"]);
}

#[test]
fn other_braces_stay_as_they_are() {
    let own = question("10.1.0.25:25", None);
    for text in ["{", "}", "{}", "{host}", "{{", "ä{ö}", "{address", "{ port }"] {
        assert_eq!(put_in(text, &own), text);
    }
    assert_eq!(put_in("{{port}}", &own), "{25}");
}

#[test]
fn exit_statuses_lead_to_their_verdicts() {
    let up = |words: &str| Verdict::Success(words.into());
    let down = |words: &str| Verdict::failure(FailureKind::Script, words);
    let table: [(End, &[u8], Verdict); 12] = [
        (End::Exited(0), b"LDAP OK - 0.002 s|time=0.002s;;;0\nmore\n", up("LDAP OK - 0.002 s")),
        (End::Exited(0), b"", up("exit status 0")),
        (End::Exited(0), b"|time=1\n", up("exit status 0")),
        (End::Exited(1), b"WARNING: queue 812\r\n", up("WARNING: queue 812")),
        (End::Exited(1), b"\n", up("warning, no output")),
        (End::Exited(2), b"CRITICAL: queue 9000\n", down("CRITICAL: queue 9000 (exit status 2)")),
        (End::Exited(3), b"UNKNOWN\n", down("UNKNOWN (exit status 3)")),
        (End::Exited(2), b"", down("exit status 2, no output")),
        (End::Exited(127), b"sh: not found", down("sh: not found (exit status 127)")),
        (End::Exited(-1), b"", down("exit status -1, no output")),
        (End::Killed(11), b"so far\n", down("so far (ended by signal 11)")),
        (End::Exited(2), b"\x1b[31mred\xff\0\n", down("?[31mred?? (exit status 2)")),
    ];
    for (end, output, expected) in table {
        assert_eq!(verdict(end, output), expected, "{}", output.escape_ascii());
    }
}

#[test]
fn a_command_that_was_killed_tells_what_it_had_said() {
    let hung = |words: &str| Failure { kind: FailureKind::Hung, words: words.into() };
    assert_eq!(timed_out(b""), hung("the command did not end, and was killed"));
    assert_eq!(timed_out(b"trying\nagain"), hung("the command did not end, and was killed; it said: trying"));
}

#[test]
fn endless_output_makes_bounded_words() {
    for output in [vec![b'x'; 1_000_000], vec![0xff; 1_000_000], vec![b'|'; 1_000_000]] {
        let Verdict::Failure(failure) = verdict(End::Exited(2), &output) else { panic!("exit status 2 is up") };
        assert!(failure.words.chars().count() <= 200);
        assert!(timed_out(&output).words.chars().count() <= 200);
    }
}
