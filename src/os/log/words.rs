//! The fields of a line as people read them: the message, then what there is besides. What is for programs is left out.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

pub struct Words;

impl<'w> FormatFields<'w> for Words {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut spelled = Spelled { out: writer, begun: false, result: Ok(()) };
        fields.record(&mut spelled);
        spelled.result
    }
}

/// Puts fields into a text.
pub struct Spelled<W> {
    pub out: W,
    pub begun: bool,
    pub result: fmt::Result,
}

impl<W: Write> Visit for Spelled<W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_err() || field.name().starts_with("event_") {
            return;
        }
        let space = if std::mem::replace(&mut self.begun, true) { " " } else { "" };
        self.result = match field.name() {
            "message" => write!(self.out, "{space}{value:?}"),
            name => write!(self.out, "{space}{name}={value:?}"),
        };
    }
}
