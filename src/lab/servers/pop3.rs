//! POP3 (RFC 1939): any user, any password, one mail.

use std::io;
use std::net::IpAddr;

use tokio::net::TcpStream;

use super::lines::{Lines, verb};

pub async fn converse(stream: TcpStream, name: &str, client: IpAddr) -> io::Result<()> {
    let mut lines = Lines::new(stream);
    lines.write(&format!("+OK {name}.lab.example POP3 lbd lab, to {client}")).await?;
    let mail = format!("From: postmaster@{name}.lab.example\r\nSubject: Served by {name}\r\n\r\nGood day.\r\n");
    let (mut user, mut welcome) = (false, false);
    while let Some(line) = lines.read().await? {
        let (verb, rest) = verb(&line);
        let first = rest.split(' ').next().unwrap_or_default();
        match verb.as_str() {
            "CAPA" => lines.write("+OK\r\nUSER\r\nUIDL\r\n.").await?,
            "USER" => {
                user = true;
                lines.write("+OK").await?;
            }
            "PASS" if user => {
                welcome = true;
                lines.write("+OK 1 message").await?;
            }
            "NOOP" => lines.write("+OK").await?,
            "QUIT" => return lines.write(&format!("+OK {name} says goodbye")).await,
            _ if !welcome => lines.write("-ERR log in first").await?,
            "STAT" => lines.write(&format!("+OK 1 {}", mail.len())).await?,
            "LIST" if rest.is_empty() => lines.write(&format!("+OK\r\n1 {}\r\n.", mail.len())).await?,
            "UIDL" if rest.is_empty() => lines.write("+OK\r\n1 lab-1\r\n.").await?,
            "LIST" if first == "1" => lines.write(&format!("+OK 1 {}", mail.len())).await?,
            "UIDL" if first == "1" => lines.write("+OK 1 lab-1").await?,
            "RETR" | "TOP" if first == "1" => lines.write(&format!("+OK\r\n{mail}.")).await?,
            "DELE" | "RSET" => lines.write("+OK").await?,
            _ => lines.write("-ERR no such message or command").await?,
        }
    }
    Ok(())
}
