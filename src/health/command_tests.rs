use mio::Poll;

use super::*;

/// Longer than anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: Token = Token(7);

struct Stage {
    _poll: Poll,
    finished: Finished,
}

impl Stage {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        Self { _poll: poll, finished: Finished::new(waker.into()) }
    }

    fn start(&self, script: &str) -> Running {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Running::start(command, TOKEN, &self.finished).unwrap()
    }

    fn verdict(&self) -> Verdict {
        let mut found = Vec::new();
        eventually("the command ends", || {
            found = self.finished.take();
            !found.is_empty()
        });
        assert_eq!(found[0].0, TOKEN);
        found.remove(0).1
    }
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Not there, or dead and not yet reaped by whoever inherited it.
fn is_gone(process: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}

#[test]
fn the_exit_status_decides_and_the_first_line_says_why() {
    let stage = Stage::new();
    let _ok = stage.start("echo 'OK - 12 messages | queue=12'; echo more");
    assert_eq!(stage.verdict(), Verdict::Success("OK - 12 messages".into()));
    let _bad = stage.start("echo 'CRITICAL - queue of 9000'; exit 2");
    assert_eq!(stage.verdict(), Verdict::failure(FailureKind::Script, "CRITICAL - queue of 9000 (exit status 2)"));
    let _killed = stage.start("kill -9 $$");
    assert_eq!(stage.verdict(), Verdict::failure(FailureKind::Script, "ended by signal 9, no output"));
}

#[test]
fn a_command_that_there_is_not_says_so() {
    let stage = Stage::new();
    let _running = Running::start(vec!["/nowhere/check".into()], TOKEN, &stage.finished).unwrap();
    let Verdict::Failure(failure) = stage.verdict() else { panic!("a success") };
    assert_eq!(failure.kind, FailureKind::Local);
    assert!(failure.words.starts_with("cannot start /nowhere/check: No such file"), "{}", failure.words);
}

#[test]
fn a_cancelled_command_goes_with_its_grandchildren_also_those_that_ignore_sigterm() {
    let stage = Stage::new();
    let running = stage.start("trap '' TERM; sh -c \"trap '' TERM; echo \\$\\$; exec sleep 600\" & echo $$; wait");
    let numbers = || {
        let text = String::from_utf8_lossy(&lock(&running.output)).into_owned();
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("both say their number", || numbers().len() == 2);
    let (numbers, alive) = (numbers(), running.alive());
    assert!(numbers.iter().all(|number| !is_gone(number)));
    drop(running);
    eventually("they end", || numbers.iter().all(|number| is_gone(number)));
    eventually("the thread ends", || alive.upgrade().is_none());
    assert!(stage.finished.take().is_empty(), "nobody waits for its verdict");
}

#[test]
fn what_a_command_leaves_behind_in_its_group_is_ended_and_not_waited_for() {
    let stage = Stage::new();
    let running = stage.start("sleep 600 & echo $!");
    let Verdict::Success(grandchild) = stage.verdict() else { panic!("a failure") };
    eventually("the grandchild ends", || is_gone(&grandchild));
    drop(running);
}

#[test]
fn an_endless_output_is_read_and_not_kept() {
    let stage = Stage::new();
    let running = stage.start("echo begin; head -c 3000000 /dev/zero | tr '\\0' x; exit 1");
    assert_eq!(stage.verdict(), Verdict::Success("begin".into()));
    assert!(lock(&running.output).len() <= OUTPUT_BYTES_MAX);
}

#[test]
fn a_command_sees_little_of_its_environment() {
    let stage = Stage::new();
    let _running = stage.start("env | sort | tr '\\n' ' '");
    assert_eq!(stage.verdict(), Verdict::Success(format!("LC_ALL=C PATH={PATH} PWD=/")));
}
