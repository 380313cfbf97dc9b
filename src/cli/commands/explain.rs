//! Why a packet goes where: what the data plane would do with it now.

use std::net::SocketAddr;

use futures_util::FutureExt;

use super::{Call, Entry, Refusal, Run, USER, name};
use crate::cli::grammar::argument;
use crate::core::control::explain::{Explanation, PacketQuestion};

pub const ENTRIES: &[Entry] = &[Entry {
    level: USER,
    syntax: "explain VIRTUAL NAME client IP PORT [later] [port PORT] [address IP] [interface WORD]",
    help: &[
        "What the data plane would do with a packet now, and why; nothing is changed or counted",
        "To a virtual server",
        "To a service of it",
        "From a client",
        "Its address",
        "Its port",
        "A packet of a connection that is there, not its first one",
        "To a port other than the service's first",
        "A port of the service",
        "To an address other than the virtual server's first",
        "An address of the virtual server",
        "In by another port of the switch than the first uplink",
        "Its name",
    ],
    run: Run::Ask(|call| explain(call).boxed()),
}];

async fn explain(call: Call) -> Result<Vec<String>, Refusal> {
    let Call { control, args, json, .. } = call;
    let explanation = control.explain(question(&args)?).await?;
    Ok(if json { vec![serde_json::to_string(&explanation)?] } else { lines(&explanation) })
}

fn question(args: &crate::cli::grammar::matcher::Args) -> Result<PacketQuestion, Refusal> {
    // The grammar lets nothing through that is not of its kind.
    let missing = Refusal::incomplete;
    let address = args.value(2).and_then(|text| text.parse().ok()).ok_or_else(missing)?;
    let port = args.value(3).and_then(argument::port).ok_or_else(missing)?;
    Ok(PacketQuestion {
        client: SocketAddr::new(address, port),
        virtual_server: name(args.value(0))?,
        service: name(args.value(1))?,
        port: args.after("port").and_then(argument::port),
        address: args.after("address").and_then(|text| text.parse().ok()),
        later: args.has("later"),
        interface: args.after("interface").map(str::to_owned),
    })
}

fn lines(explanation: &Explanation) -> Vec<String> {
    let Explanation { packet, verdict, reason, meaning, events, server, because, leaves } = explanation;
    let mut lines = vec![format!("Packet   {packet}"), format!("Verdict  {verdict} ({reason}): {meaning}")];
    lines.extend(server.iter().map(|server| format!("Server   {server}")));
    let head = |place: usize| if place == 0 { "Because" } else { "" };
    lines.extend(because.iter().enumerate().map(|(place, why)| format!("{:<8} {why}", head(place))));
    if let Some(frame) = leaves {
        let tag = if frame.vlan == 0 { String::new() } else { format!(", VLAN {}", frame.vlan) };
        lines.push(format!("Leaves   by {}{tag}, {} > {}", frame.interface, frame.source_mac, frame.destination_mac));
        lines.push(format!("         {} > {}", frame.source, frame.destination));
    }
    lines.extend(events.iter().map(|event| format!("Counts   {event} as well")));
    lines
}
