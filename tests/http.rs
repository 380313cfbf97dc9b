//! The HTTP listener over real TCP, with a daemon that is a fake.
#[path = "http/abuse.rs"]
mod abuse;
#[path = "http/access.rs"]
mod access;
#[path = "http/changes.rs"]
mod changes;
#[path = "http/configuration.rs"]
mod configuration;
#[path = "http/description.rs"]
mod description;
#[path = "http/documents.rs"]
mod documents;
#[path = "http/operations.rs"]
mod operations;
#[path = "http/rows.rs"]
mod rows;
#[path = "http_support/mod.rs"]
mod support;
#[path = "http/wire.rs"]
mod wire;
