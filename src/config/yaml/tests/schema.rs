//! The schema against the file in docs/, the page, the example and the model.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::golden::hold;

#[test]
fn the_schema_in_docs_is_that_of_the_code() {
    let text = format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap());
    hold(&root().join("docs/lb.schema.json"), &text).unwrap_or_else(|difference| panic!("{difference}"));
}

/// Each key of each object, with its schema: `(object, key)`.
fn properties(schema: &Value) -> BTreeMap<(String, String), Value> {
    let mut found = BTreeMap::new();
    let top = ("the file".to_owned(), schema);
    let defs = schema["$defs"].as_object().unwrap().iter().map(|(name, object)| (name.clone(), object));
    for (object, schema) in std::iter::once(top).chain(defs) {
        for (key, property) in schema["properties"].as_object().unwrap() {
            found.insert((object.clone(), key.clone()), property.clone());
        }
    }
    found
}

#[test]
fn every_key_of_the_schema_has_a_description_for_editors() {
    let schema = json_schema();
    let properties = properties(&schema);
    assert!(properties.len() > 50, "only {} keys found", properties.len());
    let defs = schema["$defs"].as_object().unwrap();
    for ((object, key), property) in properties {
        // A key whose value is an object may have the object's description.
        let of_object =
            property["$ref"].as_str().and_then(|r| defs[r.trim_start_matches("#/$defs/")]["description"].as_str());
        let description = property["description"].as_str().or(of_object);
        assert!(description.is_some_and(|text| text.len() > 3), "{object}: {key} has no description");
    }
}

#[test]
fn every_key_of_the_schema_is_explained_on_the_page() {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut sections = BTreeMap::new();
    for section in page.split("\n#").skip(1) {
        let title = section.lines().next().unwrap_or_default().trim_start_matches('#').trim();
        sections.insert(title.trim_matches('`').to_owned(), section);
    }
    for (object, key) in properties(&json_schema()).into_keys() {
        let section = sections.get(&object).unwrap_or_else(|| panic!("the page has no section `{object}`"));
        assert!(section.contains(&format!("\n| `{key}` |")), "the section `{object}` has no row for `{key}`");
    }
}

#[test]
fn the_defaults_on_the_page_are_those_of_the_schema() {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    for ((object, key), property) in properties(&json_schema()) {
        let default = match &property["default"] {
            Value::String(text) => text.clone(),
            Value::Null | Value::Object(_) => continue,
            other => other.to_string(),
        };
        let is_row = |line: &&str| {
            let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            cells.get(1) == Some(&key.as_str()) && cells.contains(&default.as_str())
        };
        assert!(
            page.lines().any(|line| is_row(&line)),
            "no row of the page has {object}: {key} with default {default}"
        );
    }
}

#[test]
fn the_page_shows_an_error_as_it_is_and_knows_all_names_of_services() {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let golden = std::fs::read_to_string(root().join("src/config/yaml/golden/enum-near.txt")).unwrap();
    let shown: String = golden.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect();
    assert!(page.contains(&shown), "the page does not show:\n{shown}");
    for (name, port) in crate::config::services::SERVICES {
        let known = page.contains(&format!("`{name}` {port}")) || page.contains(&format!("`{name}` or"));
        assert!(known, "the page does not have `{name}` {port}");
    }
}

#[test]
fn every_key_appears_in_the_example() {
    let example = std::fs::read_to_string(root().join("lb.yaml.example")).unwrap();
    assert!(example.starts_with("# yaml-language-server: $schema=docs/lb.schema.json\n"));
    let words: BTreeSet<&str> = example
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || "-:".contains(c))))
        .filter_map(|word| word.strip_suffix(':'))
        .collect();
    for (object, key) in properties(&json_schema()).into_keys() {
        assert!(words.contains(key.as_str()), "`{key}` of {object} is not in the example");
    }
}

/// The defaults of the schema, written out, give what nothing written gives.
#[test]
fn the_defaults_that_the_schema_states_are_those_of_the_model() {
    let properties = properties(&json_schema());
    let of = |object: &str| -> String {
        let defaults =
            properties.iter().filter(|((of, _), property)| of == object && property.get("default").is_some());
        defaults.map(|((_, key), property)| format!(", {key}: {}", property["default"])).collect()
    };
    let file = |full: bool| {
        let of = |object: &str| if full { of(object) } else { String::new() };
        format!(
            "interfaces: {{ports: [eth1]{interfaces}}}\n{top}\nlimits: {{{limits}}}\nhttp: {{{http}}}\nssh: {{{ssh}}}\nusers: {{a: {{{user}}}}}\n\
             source-nat: [{{address: 10.0.0.9{source}}}]\n\
             servers: {{a: {{address: 10.0.0.1{server}}}, b: {{address: 10.0.0.2{server}}}}}\n\
             pools: {{p: {{members: [{{server: a{member}}}, b], check: {{port: 25{check}}}{pool}}}}}\n\
             virtual-servers: {{v: {{addresses: [192.0.2.1], services: {{\
             t: {{port: 25, pool: p, mode: dsr{service}, persistence: {{group: g{persistence}}}, timeouts: {{{timeouts}}}}},\
             u: {{protocol: udp, port: 25, pool: p, mode: dsr, udp: {{{udp}}}}}}}}}}}\n",
            interfaces = of("interfaces"),
            top = if full { "hostname: lb\nbanner: \"\"" } else { "" },
            limits = of("limits").trim_start_matches(", "),
            http = of("http").trim_start_matches(", "),
            ssh = of("ssh").trim_start_matches(", "),
            user = of("user").trim_start_matches(", "),
            source = of("source-nat"),
            server = of("server"),
            member = of("member"),
            check = of("check"),
            pool = of("pool").replace(", members: []", ""),
            service = of("service"),
            persistence = of("persistence"),
            timeouts = of("timeouts").trim_start_matches(", "),
            udp = of("udp").trim_start_matches(", "),
        )
    };
    let read = |text: String| parse("lb.yaml", &text).unwrap_or_else(|refused| panic!("{refused}")).config;
    let (full, bare) = (file(true), file(false));
    assert!(full.len() > bare.len() + 400, "the schema states few defaults: {full}");
    assert_eq!(read(full), read(bare));
}
