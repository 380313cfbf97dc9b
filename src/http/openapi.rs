//! The description of the interface, OpenAPI 3.1 (spec.openapis.org/oas/v3.1.1), made of the table of routes.

use schemars::SchemaGenerator;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

use super::config::YAML;
use super::route::{Body, Route};
use super::routes::routes;

/// The whole of it.
pub fn document() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut answers = settings().for_serialize().into_generator();
    // What is taken stands where it is taken: a type that is taken and answered need not be the same for both.
    let mut bodies = settings()
        .with(|settings| {
            settings.contract = Contract::Deserialize;
            settings.inline_subschemas = true;
        })
        .into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let operation = operation(&route, &mut answers, &mut bodies);
        let path = paths.entry(route.path).or_insert_with(|| Value::Object(Map::new()));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let mut schemas = answers.take_definitions(true);
    schemas.insert("Problem".into(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lbd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A layer-4 load balancer: its state, and what may be ordered of it. docs/http.md explains it.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the configuration. On loopback requests up to level 7 need none, unless \
                                    `http.require-token` is set.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "lbd-session",
                    "description": "Of a browser that has logged in; over TLS the name begins with __Host-. What is \
                                    not a GET wants the header X-CSRF-Token too, with what the login has answered.",
                },
            },
        },
    })
}

fn operation(route: &Route, answers: &mut SchemaGenerator, bodies: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": responses(route, answers),
        "security": if route.level.is_some() { json!([{ "token": [] }, { "session": [] }]) } else { json!([]) },
    });
    if let Some(level) = route.level {
        operation["x-level"] = level.into();
    }
    if let Some((taken, may_lack)) = &route.takes {
        let content: Map<String, Value> = taken.iter().map(|body| content(*body, bodies)).collect();
        operation["requestBody"] = json!({ "required": !may_lack, "content": content });
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let names = route.path_names().map(|name| {
        let (schema, meaning) = match name {
            "number" => (json!({ "type": "integer", "minimum": 0 }), "Its number."),
            "token" => (json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,32}$" }), "Name of a token."),
            "server" => (json!({ "type": "string", "minLength": 1 }), "Name of a server."),
            "pool" => (json!({ "type": "string", "minLength": 1 }), "Name of a pool."),
            _ => (json!({ "type": "string", "minLength": 1 }), "Its name."),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema, "description": meaning })
    });
    let others = route.parameters.iter().map(|one| {
        json!({
            "name": one.name, "in": one.place, "required": one.required, "schema": one.schema,
            "description": one.meaning,
        })
    });
    names.chain(others).collect()
}

fn responses(route: &Route, answers: &mut SchemaGenerator) -> Value {
    let content: Map<String, Value> = route.answers.iter().map(|body| content(*body, answers)).collect();
    let good = match content.is_empty() {
        true => ("204".to_owned(), json!({ "description": "Done." })),
        false => ("200".to_owned(), json!({ "description": "What was asked for.", "content": content })),
    };
    let mut responses: Map<String, Value> = [good].into_iter().collect();
    let of_all: &[(u16, &str)] = &[(400, "The request is malformed."), (421, "The request is for another host.")];
    let of_levels: &[(u16, &str)] = &[
        (401, "Who asks has not said who he is, or it is not so."),
        (403, "Who asks may not."),
        (429, "Too many tries with wrong tokens or passwords came from here."),
    ];
    let of_bodies: &[(u16, &str)] = &[
        (408, "The body did not come in time."),
        (413, "The body is too large."),
        (415, "The body does not say that it is JSON."),
    ];
    let of_daemon: &[(u16, &str)] = &[(500, "Something failed."), (503, "The daemon does not answer now.")];
    let general = [of_all, of_daemon]
        .into_iter()
        .chain(route.level.is_some().then_some(of_levels))
        .chain(route.takes.is_some().then_some(of_bodies))
        .flatten()
        .copied();
    let own = route.failures.iter().map(|failure| (failure.status, failure.meaning));
    for (status, meaning) in general.chain(own) {
        let reference = json!({ "$ref": "#/components/schemas/Problem" });
        let document =
            json!({ "description": meaning, "content": { "application/problem+json": { "schema": reference } } });
        responses.insert(status.to_string(), document);
    }
    Value::Object(responses)
}

fn content(body: Body, generator: &mut SchemaGenerator) -> (String, Value) {
    match body {
        Body::Json(schema) => ("application/json".into(), json!({ "schema": schema(generator) })),
        // Which is a text, but says an object.
        Body::Text(YAML) => (YAML.into(), json!({ "schema": { "type": "object" } })),
        Body::Text(media_type) => (media_type.into(), json!({ "schema": { "type": "string" } })),
    }
}

/// RFC 9457, section 3.1; `type` is absent, which means `about:blank`.
fn problem() -> Value {
    json!({
        "type": "object",
        "description": "Why not (RFC 9457). Further members say what is wrong and what would be right.",
        "required": ["title", "status", "detail"],
        "properties": {
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string" },
        },
    })
}
