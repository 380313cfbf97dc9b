//! POP3 (RFC 1939): any user, any password, one mail.

use std::io;

use tokio::net::TcpStream;

use super::lines::{Lines, verb};

pub async fn converse(stream: TcpStream, name: &str) -> io::Result<()> {
    let mut client = Lines::new(stream);
    client.write(&format!("+OK {name}.lab.example POP3 lbd lab")).await?;
    let mail = format!("From: postmaster@{name}.lab.example\r\nSubject: Served by {name}\r\n\r\nGood day.\r\n");
    let (mut user, mut welcome) = (false, false);
    while let Some(line) = client.read().await? {
        let (verb, rest) = verb(&line);
        let first = rest.split(' ').next().unwrap_or_default();
        match verb.as_str() {
            "CAPA" => client.write("+OK\r\nUSER\r\nUIDL\r\n.").await?,
            "USER" => {
                user = true;
                client.write("+OK").await?;
            }
            "PASS" if user => {
                welcome = true;
                client.write("+OK 1 message").await?;
            }
            "NOOP" => client.write("+OK").await?,
            "QUIT" => return client.write(&format!("+OK {name} says goodbye")).await,
            _ if !welcome => client.write("-ERR log in first").await?,
            "STAT" => client.write(&format!("+OK 1 {}", mail.len())).await?,
            "LIST" if rest.is_empty() => client.write(&format!("+OK\r\n1 {}\r\n.", mail.len())).await?,
            "UIDL" if rest.is_empty() => client.write("+OK\r\n1 lab-1\r\n.").await?,
            "LIST" if first == "1" => client.write(&format!("+OK 1 {}", mail.len())).await?,
            "UIDL" if first == "1" => client.write("+OK 1 lab-1").await?,
            "RETR" | "TOP" if first == "1" => client.write(&format!("+OK\r\n{mail}.")).await?,
            "DELE" | "RSET" => client.write("+OK").await?,
            _ => client.write("-ERR no such message or command").await?,
        }
    }
    Ok(())
}
