//! SMTP (RFC 5321): takes every mail, and drops it.

use std::io;
use std::net::IpAddr;

use tokio::net::TcpStream;

use super::lines::{Lines, verb};

/// Told in EHLO (RFC 1870); a mail beyond it is refused.
const MAIL_BYTES_MAX: usize = 32 * 1024 * 1024;

pub async fn converse(stream: TcpStream, name: &str, client: IpAddr) -> io::Result<()> {
    let mut lines = Lines::new(stream);
    lines.write(&format!("220 {name}.lab.example ESMTP lbd lab, to {client}")).await?;
    let (mut sender, mut recipients) = (false, 0_usize);
    while let Some(line) = lines.read().await? {
        let (verb, rest) = verb(&line);
        let rest = rest.to_ascii_uppercase();
        match verb.as_str() {
            "HELO" => lines.write(&format!("250 {name}.lab.example")).await?,
            "EHLO" => {
                (sender, recipients) = (false, 0);
                let text =
                    format!("250-{name}.lab.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE {MAIL_BYTES_MAX}");
                lines.write(&text).await?;
            }
            "MAIL" if rest.starts_with("FROM:") => {
                (sender, recipients) = (true, 0);
                lines.write("250 2.1.0 Ok").await?;
            }
            "RCPT" if !sender => lines.write("503 5.5.1 MAIL first").await?,
            "RCPT" if rest.starts_with("TO:") && recipients < 100 => {
                recipients += 1;
                lines.write("250 2.1.5 Ok").await?;
            }
            "RCPT" if recipients >= 100 => lines.write("452 4.5.3 Too many recipients").await?,
            "DATA" if recipients == 0 => lines.write("503 5.5.1 RCPT first").await?,
            "DATA" => {
                lines.write("354 End with <CR><LF>.<CR><LF>").await?;
                let Some(bytes) = mail(&mut lines).await? else { return Ok(()) };
                let verdict = if bytes <= MAIL_BYTES_MAX {
                    format!("250 2.0.0 {name} took {bytes} bytes")
                } else {
                    "552 5.3.4 Mail too big".into()
                };
                lines.write(&verdict).await?;
                (sender, recipients) = (false, 0);
            }
            "RSET" => {
                (sender, recipients) = (false, 0);
                lines.write("250 2.0.0 Ok").await?;
            }
            "NOOP" => lines.write("250 2.0.0 Ok").await?,
            "QUIT" => return lines.write(&format!("221 2.0.0 {name} says goodbye")).await,
            "MAIL" | "RCPT" => lines.write("501 5.5.4 Syntax error in parameters").await?,
            _ => lines.write("500 5.5.1 Command unknown").await?,
        }
    }
    Ok(())
}

/// A greeting that is none: come back later (RFC 5321, 3.8).
pub async fn turn_away(stream: TcpStream, name: &str) -> io::Result<()> {
    Lines::new(stream).write(&format!("421 4.3.2 {name}.lab.example too busy, try again later")).await
}

/// Reads to the lone dot; the mail's size, or `None` if the client went away.
async fn mail(lines: &mut Lines) -> io::Result<Option<usize>> {
    let mut bytes = 0_usize;
    while let Some(line) = lines.read().await? {
        if line == "." {
            return Ok(Some(bytes));
        }
        bytes = bytes.saturating_add(line.len() + 2);
    }
    Ok(None)
}
