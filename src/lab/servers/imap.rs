//! IMAP4rev1 (RFC 3501) with IDLE (RFC 2177): any user, an empty INBOX.

use std::io;
use std::net::IpAddr;

use tokio::net::TcpStream;

use super::lines::{Lines, verb};

const CAPABILITIES: &str = "CAPABILITY IMAP4rev1 IDLE";

pub async fn converse(stream: TcpStream, name: &str, client: IpAddr) -> io::Result<()> {
    let mut lines = Lines::new(stream);
    lines.write(&format!("* OK {name}.lab.example IMAP4rev1 lbd lab, to {client}")).await?;
    while let Some(line) = lines.read().await? {
        let (tag, command) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        let (verb, rest) = verb(command);
        match verb.as_str() {
            "" => lines.write("* BAD tag and command expected").await?,
            "CAPABILITY" => lines.write(&format!("* {CAPABILITIES}\r\n{tag} OK done")).await?,
            "LOGIN" if rest.split(' ').count() < 2 => lines.write(&format!("{tag} BAD name and password")).await?,
            "LOGIN" => lines.write(&format!("{tag} OK [{CAPABILITIES}] welcome to {name}")).await?,
            "SELECT" | "EXAMINE" => {
                let text = "* 0 EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen \\Deleted)\r\n* OK [UIDVALIDITY 1] valid";
                lines.write(&format!("{text}\r\n{tag} OK [READ-ONLY] {verb} done")).await?;
            }
            "LIST" => lines.write(&format!("* LIST () \"/\" INBOX\r\n{tag} OK done")).await?,
            "IDLE" => {
                lines.write("+ idling").await?;
                let Some(end) = lines.read().await? else { return Ok(()) };
                let done = end.eq_ignore_ascii_case("DONE");
                lines.write(&format!("{tag} {}", if done { "OK done" } else { "BAD DONE expected" })).await?;
            }
            "NOOP" | "CHECK" | "CLOSE" => lines.write(&format!("{tag} OK {name} is here")).await?,
            "LOGOUT" => return lines.write(&format!("* BYE {name} says goodbye\r\n{tag} OK done")).await,
            _ => lines.write(&format!("{tag} BAD command unknown")).await?,
        }
    }
    Ok(())
}
