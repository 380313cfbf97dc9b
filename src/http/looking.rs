//! What the data plane does: why a packet goes where, packets as they pass, and who uses a service most.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::access::Who;
use super::api::App;
use super::problem::Problem;
use super::query::{self, Keys};
use crate::cli::grammar::argument::prefix;
use crate::config::limits::Range;
use crate::config::{Name, Prefix};
use crate::core::control::capture::{
    CAPTURE_PACKETS, CAPTURE_PACKETS_DEFAULT, CAPTURE_SECONDS, CAPTURE_SECONDS_DEFAULT, CaptureOrder, CapturePiece,
    TOP_ROWS, TOP_ROWS_DEFAULT, TopOrder, TopRow,
};
use crate::core::control::{Explanation, OperationError, PacketQuestion};

/// As Wireshark registers it.
pub const PCAPNG: &str = "application/x-pcapng";
/// Seconds of a count, if it is not said.
pub const TOP_SECONDS_DEFAULT: u32 = 2;

/// The values of a query, by key.
struct Values(Vec<(&'static str, String)>);

impl Values {
    fn of(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
    }

    /// `None` if the key is not there.
    fn read<T>(&self, key: &str, read: impl Fn(&str, &str) -> Result<T, Problem>) -> Result<Option<T>, Problem> {
        self.of(key).map(|value| read(key, value)).transpose()
    }

    fn name(&self, key: &str) -> Result<Option<Name>, Problem> {
        self.read(key, query::name)
    }

    fn number(&self, key: &str, range: Range, otherwise: u32) -> Result<u32, Problem> {
        let number = self.read(key, |key, value| query::within(key, value, range.min..=range.max))?;
        Ok(number.unwrap_or(otherwise))
    }

    fn port(&self, key: &str) -> Result<Option<u16>, Problem> {
        self.read(key, |key, value| {
            let port = value.parse().ok().filter(|port| *port > 0);
            port.ok_or_else(|| Keys::bad_value(key, value, "a port from 1 to 65535"))
        })
    }

    fn flag(&self, key: &str) -> Result<bool, Problem> {
        Ok(self.read(key, query::flag)?.unwrap_or(false))
    }
}

/// An address alone, or a network.
fn network(key: &str, value: &str) -> Result<Prefix, Problem> {
    let network = value.parse().ok().map(Prefix::host).or_else(|| prefix(value));
    network.ok_or_else(|| Keys::bad_value(key, value, "an address, or a network such as 198.51.100.0/24"))
}

fn needed<T>(key: &'static str, value: Option<T>) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::bad_request(format!("the query does not say `{key}`")).with("key", key))
}

const EXPLAIN: [&str; 8] =
    ["virtual_server", "service", "client", "client_port", "port", "address", "later", "interface"];

pub async fn explain(State(app): State<App>, uri: Uri) -> Result<Json<Explanation>, Problem> {
    let values = Values(Keys::read(&uri, &EXPLAIN)?);
    let client = needed("client", values.read("client", query::address)?)?;
    let question = PacketQuestion {
        client: SocketAddr::new(client, needed("client_port", values.port("client_port")?)?),
        virtual_server: needed("virtual_server", values.name("virtual_server")?)?,
        service: needed("service", values.name("service")?)?,
        port: values.port("port")?,
        address: values.read("address", query::address)?,
        later: values.flag("later")?,
        interface: values.of("interface").map(str::to_owned),
    };
    Ok(Json(app.wait(app.control.explain(question)).await??))
}

const CAPTURE: [&str; 8] = ["virtual_server", "service", "network", "port", "protocol", "seconds", "packets", "whole"];

pub async fn capture(State(app): State<App>, Extension(who): Extension<Who>, uri: Uri) -> Result<Response, Problem> {
    let values = Values(Keys::read(&uri, &CAPTURE)?);
    let service = match (values.name("virtual_server")?, values.name("service")?) {
        (None, None) => None,
        (virtual_server, service) => Some((needed("virtual_server", virtual_server)?, needed("service", service)?)),
    };
    let order = CaptureOrder {
        host: values.read("network", network)?,
        service,
        port: values.port("port")?,
        protocol: values.read("protocol", query::protocol)?,
        whole: values.flag("whole")?,
        time: Duration::from_secs(values.number("seconds", CAPTURE_SECONDS, CAPTURE_SECONDS_DEFAULT)?.into()),
        packets: values.number("packets", CAPTURE_PACKETS, CAPTURE_PACKETS_DEFAULT)?,
        file: None,
    };
    let mut pieces = app.wait(app.control.capture(app.access.editor(&who), order)).await??;
    // What fails before the first piece is a problem; what fails later breaks the connection off.
    let first = match app.wait(pieces.recv()).await? {
        Some(CapturePiece::Bytes(bytes)) => Bytes::from(bytes),
        Some(CapturePiece::End(_)) => Bytes::new(),
        Some(CapturePiece::Failed(error)) => return Err(error.into()),
        None => return Err(OperationError::Failed("the capture broke off; the log says why".to_owned()).into()),
    };
    let rest = futures_util::stream::unfold((Some(first), pieces), |(first, mut pieces)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, pieces)));
        }
        match pieces.recv().await? {
            CapturePiece::Bytes(bytes) => Some((Ok(Bytes::from(bytes)), (None, pieces))),
            CapturePiece::End(_) => None,
            CapturePiece::Failed(error) => Some((Err(io::Error::other(error)), (None, pieces))),
        }
    });
    let file = "attachment; filename=\"lbd.pcapng\"";
    Ok(([(header::CONTENT_TYPE, PCAPNG), (header::CONTENT_DISPOSITION, file)], Body::from_stream(rest)).into_response())
}

const TOP: [&str; 4] = ["virtual_server", "service", "seconds", "rows"];

pub async fn top(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    uri: Uri,
) -> Result<Json<Vec<TopRow>>, Problem> {
    let values = Values(Keys::read(&uri, &TOP)?);
    // Longer than an answer may take is of no use here.
    let most = u32::try_from(app.limits.answer.as_secs()).unwrap_or(u32::MAX).saturating_sub(1).max(1);
    let seconds = Range { max: CAPTURE_SECONDS.max.min(most), ..CAPTURE_SECONDS };
    let order = TopOrder {
        virtual_server: needed("virtual_server", values.name("virtual_server")?)?,
        service: needed("service", values.name("service")?)?,
        time: Duration::from_secs(values.number("seconds", seconds, TOP_SECONDS_DEFAULT)?.into()),
        rows: values.number("rows", TOP_ROWS, TOP_ROWS_DEFAULT)?,
    };
    Ok(Json(app.wait(app.control.top(app.access.editor(&who), order)).await??))
}
