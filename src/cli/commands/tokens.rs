//! Tokens of the HTTP interface.

use futures_util::FutureExt;

use super::{ADMIN, Call, Entry, Refusal, Run};
use crate::access::issue::{Wanted, issue};
use crate::config::{Date, Name, Token};

pub const ENTRIES: &[Entry] = &[Entry {
    level: ADMIN,
    syntax: "generate api-token NAME [privilege 0-15] [expires WORD]",
    help: &[
        "Make something at random",
        "A token of the HTTP interface, which is shown once",
        "What it is called",
        "What it may",
        "0 metrics, 1 looks, 7 orders about servers and the pair, 15 everything",
        "The last day on which it is good",
        "Such as 2027-01-31",
    ],
    run: Run::Do(|call| generate(call).boxed()),
}];

async fn generate(call: Call) -> Result<Vec<String>, Refusal> {
    let name = Name::new(call.args.value(0).unwrap_or_default()).map_err(Refusal)?;
    let level = call.args.after("privilege").map(str::parse).transpose()?;
    let expires = call.args.after("expires").map(Date::new).transpose();
    let expires = expires.map_err(|wrong| Refusal(format!("{wrong}; such as 2027-01-31")))?;
    let wanted = Wanted { name, level: level.unwrap_or(Token::LEVEL_DEFAULT), expires };
    let token = issue(&*call.control, call.by, &wanted).await?;
    Ok(vec![
        format!("Token {}, of level {}, shown this once:", wanted.name, wanted.level),
        String::new(),
        token.to_string(),
        String::new(),
        "It is good from now on; `write memory` keeps it.".to_owned(),
    ])
}
