//! IMAP4rev1 (RFC 3501) with IDLE (RFC 2177): any user, an empty INBOX.

use std::io;

use tokio::net::TcpStream;

use super::lines::{Lines, verb};

const CAPABILITIES: &str = "CAPABILITY IMAP4rev1 IDLE";

pub async fn converse(stream: TcpStream, name: &str) -> io::Result<()> {
    let mut client = Lines::new(stream);
    client.write(&format!("* OK {name}.lab.example IMAP4rev1 lbd lab")).await?;
    while let Some(line) = client.read().await? {
        let (tag, command) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        let (verb, rest) = verb(command);
        match verb.as_str() {
            "" => client.write("* BAD tag and command expected").await?,
            "CAPABILITY" => client.write(&format!("* {CAPABILITIES}\r\n{tag} OK done")).await?,
            "LOGIN" if rest.split(' ').count() < 2 => client.write(&format!("{tag} BAD name and password")).await?,
            "LOGIN" => client.write(&format!("{tag} OK [{CAPABILITIES}] welcome to {name}")).await?,
            "SELECT" | "EXAMINE" => {
                let text = "* 0 EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen \\Deleted)\r\n* OK [UIDVALIDITY 1] valid";
                client.write(&format!("{text}\r\n{tag} OK [READ-ONLY] {verb} done")).await?;
            }
            "LIST" => client.write(&format!("* LIST () \"/\" INBOX\r\n{tag} OK done")).await?,
            "IDLE" => {
                client.write("+ idling").await?;
                let Some(end) = client.read().await? else { return Ok(()) };
                let done = end.eq_ignore_ascii_case("DONE");
                client.write(&format!("{tag} {}", if done { "OK done" } else { "BAD DONE expected" })).await?;
            }
            "NOOP" | "CHECK" | "CLOSE" => client.write(&format!("{tag} OK {name} is here")).await?,
            "LOGOUT" => return client.write(&format!("* BYE {name} says goodbye\r\n{tag} OK done")).await,
            _ => client.write(&format!("{tag} BAD command unknown")).await?,
        }
    }
    Ok(())
}
