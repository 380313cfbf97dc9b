//! The golden files of messages, and what no file may do to the reader.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::model::*;

mod golden;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_example_is_the_site_and_has_neither_errors_nor_warnings() {
    let loaded = load(&root().join("lb.yaml.example")).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(loaded.render_warnings(), "");
    let config = loaded.config;
    assert_eq!(config.servers.len(), 5);
    let names = |pool: &str| -> Vec<String> {
        config.pools[&Name::new(pool).unwrap()].members.iter().map(|member| member.server.to_string()).collect()
    };
    assert_eq!(names("mx"), ["pc1", "pc3"]);
    assert_eq!(names("webmail"), ["pc2", "pc4", "sorry"]);
}
