//! Who is logged in, and the way in.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{ADMIN, Call, Entry, Refusal, Run, USER};
use crate::cli::lines;
use crate::cli::ssh::status::{self, Status};
use crate::cli::table::{Align, Table, age};
use crate::config::Config;

use Align::{Left, Right};

pub const ENTRIES: &[Entry] = &[
    Entry {
        level: USER,
        syntax: "show users",
        help: &["Show what there is", "Who is logged in, from where, and how long without a key"],
        run: Run::Do(|_| users().boxed()),
    },
    Entry {
        level: ADMIN,
        syntax: "show ip ssh",
        help: &["Show what there is", "Ways in over the network", "The SSH listener and the fingerprint of its key"],
        run: Run::Do(|call| ssh(call).boxed()),
    },
    Entry {
        level: ADMIN,
        syntax: "clear line 0-9999",
        help: &["Clear what there is", "Ends a session", "Its number, as `show users` has it"],
        run: Run::Do(clear),
    },
];

async fn users() -> Result<Vec<String>, Refusal> {
    let mut table = Table::new(&[("Line", Right), ("User", Left), ("Level", Right), ("Idle", Right), ("From", Left)]);
    for line in lines::list() {
        table.row([line.number.to_string(), line.user, line.level.to_string(), age(line.idle), line.from]);
    }
    Ok(table.lines(0))
}

async fn ssh(call: Call) -> Result<Vec<String>, Refusal> {
    Ok(described(&status::get(), &*call.control.config().await?))
}

fn described(status: &Status, config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    if !config.ssh.enabled {
        lines.push("SSH is off: `ip ssh server on` turns it on".to_owned());
    } else if config.users.is_empty() {
        lines.push("SSH is off: there is no user yet (`username NAME privilege 15 secret PASSWORD`)".to_owned());
    }
    for listening in &status.listening {
        lines.push(match &listening.at {
            Ok(at) => format!("Listening on {at}"),
            Err(why) => format!("Not listening on {}: {why}", listening.wanted),
        });
    }
    match &status.fingerprint {
        Some(fingerprint) => lines.push(format!("Host key: ED25519 {fingerprint}")),
        None => lines.push("Host key: none; the log says why".to_owned()),
    }
    let ssh = &config.ssh;
    lines.push(format!("Time for the login: {}   Wrong passwords: {}", age(ssh.grace), ssh.attempts));
    let idle = if ssh.idle.is_zero() { "never".to_owned() } else { age(ssh.idle) };
    lines.push(format!("Idle sessions end after: {idle}   Sessions at most: {}", ssh.sessions));
    let access: Vec<String> = ssh.access.iter().map(ToString::to_string).collect();
    lines.push(format!("Access from: {}", if access.is_empty() { "everywhere".to_owned() } else { access.join(" ") }));
    for (name, user) in &config.users {
        let password = if user.secret.is_some() { "password" } else { "no password" };
        let keys: Vec<String> = user.ssh_keys.iter().map(|key| format!(" {}", key.fingerprint())).collect();
        lines.push(format!("User {name}: level {}, {password}, {} keys{}", user.level, keys.len(), keys.concat()));
    }
    lines
}

fn clear(call: Call) -> BoxFuture<'static, Result<Vec<String>, Refusal>> {
    async move {
        // The grammar lets nothing else through.
        let number = call.args.value(0).and_then(|text| text.parse().ok()).unwrap_or_default();
        match lines::clear(number) {
            true => Ok(Vec::new()),
            false => Err(Refusal(format!("there is no session on line {number}; `show users` lists them"))),
        }
    }
    .boxed()
}
