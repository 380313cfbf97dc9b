//! Packets as the data plane sees them: into a file, or counted by client.

use std::time::Duration;

use futures_util::FutureExt;

use super::{ADMIN, Call, Entry, Refusal, Run, name};
use crate::cli::grammar::argument;
use crate::cli::grammar::matcher::Args;
use crate::cli::table::{Align, Table, bytes, count};
use crate::config::{Prefix, Protocol};
use crate::core::control::capture::*;

pub const ENTRIES: &[Entry] = &[
    Entry {
        level: ADMIN,
        syntax: "capture NAME [service VIRTUAL NAME] [host IP] [network PREFIX] [port PORT] [protocol <tcp|udp>] \
                 [seconds 1-300] [packets 1-1000000] [whole]",
        help: &[
            "Write packets to a file for Wireshark, with what became of them",
            "Name of the file",
            "Of a service",
            "Its virtual server",
            "Its name",
            "From or to a host",
            "Its address",
            "From or to a network",
            "Such as 198.51.100.0/24",
            "From or to a port",
            "Its number",
            "Of a protocol",
            "TCP",
            "UDP",
            "For so long",
            "10 if not said",
            "At most so many",
            "10000 if not said",
            "With mail and passwords, not only headers",
        ],
        run: Run::Ask(|call| capture(call).boxed()),
    },
    Entry {
        level: ADMIN,
        syntax: "top VIRTUAL NAME [seconds 1-300] [rows 1-1000]",
        help: &[
            "Count which clients use a service most",
            "A virtual server",
            "A service of it",
            "Count for so long",
            "2 if not said",
            "At most so many clients",
            "10 if not said",
        ],
        run: Run::Ask(|call| top(call).boxed()),
    },
];

fn number(args: &Args, keyword: &str, otherwise: u32) -> u32 {
    args.after(keyword).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn order(args: &Args) -> Result<CaptureOrder, Refusal> {
    let file = name(args.value(0))?;
    let service = args.has("service").then(|| Ok::<_, Refusal>((name(args.value(1))?, name(args.value(2))?)));
    let host = args.after("host").and_then(|text| text.parse().ok()).map(Prefix::host);
    let network = args.after("network").and_then(argument::prefix);
    if host.is_some() && network.is_some() {
        return Err(Refusal("Either a host or a network.".to_owned()));
    }
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    Ok(CaptureOrder {
        host: host.or(network),
        service: service.transpose()?,
        port: args.after("port").and_then(argument::port),
        protocol: protocols.into_iter().find(|(word, _)| args.has(word)).map(|(_, protocol)| protocol),
        whole: args.has("whole"),
        time: Duration::from_secs(number(args, "seconds", CAPTURE_SECONDS_DEFAULT).into()),
        packets: number(args, "packets", CAPTURE_PACKETS_DEFAULT),
        file: Some(file),
    })
}

async fn capture(call: Call) -> Result<Vec<String>, Refusal> {
    let mut pieces = call.control.capture(call.by, order(&call.args)?).await?;
    while let Some(piece) = pieces.recv().await {
        match piece {
            CapturePiece::Bytes(_) => {}
            CapturePiece::End(report) if call.json => return Ok(vec![serde_json::to_string(&report)?]),
            CapturePiece::End(report) => return Ok(lines(&report)),
            CapturePiece::Failed(error) => return Err(error.into()),
        }
    }
    Err(Refusal("The capture broke off; the log says why.".to_owned()))
}

fn lines(report: &CaptureReport) -> Vec<String> {
    let CaptureReport { packets, bytes: size, lost, ended, file } = report;
    let file = file.as_deref().unwrap_or("-");
    let mut lines = vec![format!("{} packets, {} in {file}: {ended}", count(*packets), bytes(*size))];
    if *lost > 0 {
        lines.push(format!("{} packets more came too fast to be taken; a narrower filter loses fewer", count(*lost)));
    }
    lines
}

async fn top(call: Call) -> Result<Vec<String>, Refusal> {
    let seconds = number(&call.args, "seconds", 2);
    let order = TopOrder {
        virtual_server: name(call.args.value(0))?,
        service: name(call.args.value(1))?,
        time: Duration::from_secs(seconds.into()),
        rows: number(&call.args, "rows", TOP_ROWS_DEFAULT),
    };
    let rows = call.control.top(call.by, order).await?;
    if call.json {
        return Ok(vec![serde_json::to_string(&rows)?]);
    }
    let titles = [
        ("Client", Align::Left),
        ("Connections", Align::Right),
        ("Packets/s", Align::Right),
        ("Bytes/s", Align::Right),
    ];
    let mut table = Table::new(&titles);
    for row in &rows {
        let per_second = |number: u64| number / u64::from(seconds.max(1));
        table.row([
            row.client.to_string(),
            count(row.connections),
            count(per_second(row.packets)),
            bytes(per_second(row.bytes)),
        ]);
    }
    Ok(table.lines(0))
}
