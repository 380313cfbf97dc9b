//! A route: what it is called, who may, what it takes and answers, and who carries it out. The router and the description
//! are both made of it, so that neither knows of a route that the other does not.

use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::admit::admit;
use super::api::App;

/// Makes the schema of a body.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A key of the query, or a header.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: &'static str,
    /// `query` or `header`.
    pub place: &'static str,
    pub required: bool,
    /// JSON Schema of its value.
    pub schema: Value,
    pub meaning: &'static str,
}

/// What the body of a request or of an answer is.
#[derive(Clone, Copy)]
pub enum Body {
    Json(SchemaOf),
    /// Text of a media type.
    Text(&'static str),
}

/// What an operation may answer besides 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub status: u16,
    pub meaning: &'static str,
}

pub struct Route {
    pub method: Method,
    pub path: &'static str,
    /// The level of privilege from which on it may be asked; `None`: by anybody who may connect.
    pub level: Option<u8>,
    /// Of this name there is one.
    pub id: &'static str,
    pub summary: &'static str,
    pub parameters: Vec<Parameter>,
    /// With whether it may be left out.
    pub takes: Option<(Vec<Body>, bool)>,
    /// Several media types of the same.
    pub answers: Vec<Body>,
    pub failures: Vec<Failure>,
    /// Most bytes of a body, where more than elsewhere may be.
    bytes_max: Option<usize>,
    handler: MethodRouter<App>,
}

/// A schema, as a function that needs none of its own generator: for bodies and answers.
pub fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Route {
    pub fn new<H, T>(method: Method, path: &'static str, id: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        // The methods of the table are all known to it.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        Self {
            method,
            path,
            level: None,
            id,
            summary,
            parameters: Vec::new(),
            takes: None,
            answers: Vec::new(),
            failures: Vec::new(),
            bytes_max: None,
            handler: on(filter, handler),
        }
    }

    /// From this level on.
    pub fn for_level(self, level: u8) -> Self {
        Self { level: Some(level), ..self }
    }

    /// Takes a JSON body.
    pub fn takes<T: JsonSchema>(self) -> Self {
        Self { takes: Some((vec![Body::Json(schema_of::<T>)], false)), ..self }
    }

    /// Takes a JSON body, or none.
    pub fn may_take<T: JsonSchema>(self) -> Self {
        Self { takes: Some((vec![Body::Json(schema_of::<T>)], true)), ..self }
    }

    /// Takes a JSON body, or the same as text of another type, of at most so many bytes.
    pub fn takes_text<T: JsonSchema>(self, media_type: &'static str, bytes_max: usize) -> Self {
        let bodies = vec![Body::Json(schema_of::<T>), Body::Text(media_type)];
        Self { takes: Some((bodies, false)), bytes_max: Some(bytes_max), ..self }
    }

    pub fn answers<T: JsonSchema>(mut self) -> Self {
        self.answers.push(Body::Json(schema_of::<T>));
        self
    }

    pub fn answers_text(mut self, media_type: &'static str) -> Self {
        self.answers.push(Body::Text(media_type));
        self
    }

    pub fn query(self, name: &'static str, schema: Value, meaning: &'static str) -> Self {
        self.parameter("query", name, schema, meaning)
    }

    /// One that must be there.
    pub fn needs(mut self, name: &'static str, schema: Value, meaning: &'static str) -> Self {
        self.parameters.push(Parameter { name, place: "query", required: true, schema, meaning });
        self
    }

    pub fn header(self, name: &'static str, schema: Value, meaning: &'static str) -> Self {
        self.parameter("header", name, schema, meaning)
    }

    fn parameter(mut self, place: &'static str, name: &'static str, schema: Value, meaning: &'static str) -> Self {
        self.parameters.push(Parameter { name, place, required: false, schema, meaning });
        self
    }

    pub fn fails(mut self, status: u16, meaning: &'static str) -> Self {
        self.failures.push(Failure { status, meaning });
        self
    }

    /// What the router has of it: the handler, behind the question who may.
    pub fn handler(&self) -> MethodRouter<App> {
        let level = self.level;
        let guard = middleware::from_fn(move |request: Request, next: Next| async move {
            let answer: Response = admit(level, request, next).await;
            answer
        });
        let handler = self.handler.clone();
        match self.bytes_max {
            Some(bytes) => handler.layer(DefaultBodyLimit::max(bytes)).layer(guard),
            None => handler.layer(guard),
        }
    }

    /// Names in braces of the path.
    pub fn path_names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|step| step.strip_prefix('{')?.strip_suffix('}'))
    }
}
