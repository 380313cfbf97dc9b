//! Rows as they come, without ever holding many of them.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::problem::Problem;
use crate::core::control::word::Word;
use crate::core::control::{Chunk, ConnectionRow, OperationError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One array, a row on each line.
    Json,
    /// A row on each line and nothing else.
    Ndjson,
}

impl Format {
    pub const ALL: [Self; 2] = [Self::Json, Self::Ndjson];

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

impl Word for Format {
    fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }
}

/// Answers with the rows of a walk. Something that fails before the first row is a problem document;
/// something that fails later breaks the connection off, so that no client takes a part for the whole.
pub async fn respond(mut chunks: Receiver<Chunk>, format: Format, patience: Duration) -> Result<Response, Problem> {
    let first = next(&mut chunks, patience).await?;
    let rows = Rows { chunks, first: Some(first), format, patience, begun: false, ended: false };
    let body = Body::from_stream(futures_util::stream::try_unfold(rows, Rows::piece));
    Ok(([(header::CONTENT_TYPE, format.media_type())], body).into_response())
}

/// The next rows that there are; `None` at the end.
async fn next(chunks: &mut Receiver<Chunk>, patience: Duration) -> Result<Option<Vec<ConnectionRow>>, OperationError> {
    match timeout(patience, chunks.recv()).await {
        Ok(Some(Chunk::Rows(rows))) => Ok(Some(rows)),
        Ok(Some(Chunk::End)) => Ok(None),
        Ok(Some(Chunk::Failed(error))) => Err(error),
        Ok(None) => Err(OperationError::Failed("the walk over the connection table broke off".into())),
        Err(_) => Err(OperationError::Unavailable(format!("no rows within {} s", patience.as_secs_f32()))),
    }
}

struct Rows {
    chunks: Receiver<Chunk>,
    /// What was read to see whether there is an answer at all.
    first: Option<Option<Vec<ConnectionRow>>>,
    format: Format,
    patience: Duration,
    begun: bool,
    ended: bool,
}

impl Rows {
    /// The next piece of the body: one chunk's rows, or what closes it.
    async fn piece(mut self) -> io::Result<Option<(Bytes, Self)>> {
        while !self.ended {
            let rows = match self.first.take() {
                Some(first) => first,
                None => next(&mut self.chunks, self.patience).await.map_err(|error| {
                    tracing::warn!(%error, "a list of connections was broken off");
                    io::Error::other(error)
                })?,
            };
            self.ended = rows.is_none();
            let text = self.text(rows)?;
            // A chunk without rows is only a sign of life.
            if !text.is_empty() {
                return Ok(Some((text.into(), self)));
            }
        }
        Ok(None)
    }

    fn text(&mut self, rows: Option<Vec<ConnectionRow>>) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let array = self.format == Format::Json;
        for row in rows.iter().flatten() {
            match (array, self.begun) {
                (true, false) => text.extend_from_slice(b"[\n"),
                (true, true) => text.extend_from_slice(b",\n"),
                (false, _) => {}
            }
            self.begun = true;
            serde_json::to_writer(&mut text, row)?;
            if !array {
                text.push(b'\n');
            }
        }
        if array && rows.is_none() {
            text.extend_from_slice(if self.begun { b"\n]\n" } else { b"[]\n" });
        }
        Ok(text)
    }
}
