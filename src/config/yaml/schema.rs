//! The JSON Schema of the file, by which editors complete and check it.

use schemars::generate::SchemaSettings;

use super::raw::RawConfig;

/// JSON Schema (draft 2020-12), from the structures that the file is read by.
pub fn json_schema() -> serde_json::Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<RawConfig>().to_value()
}
