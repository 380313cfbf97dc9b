//! A new token, put into the configuration in force.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::token;
use crate::config::{Date, Name, Running, Token};
use crate::core::control::{Change, ConfigError, Control, Editor, OperationError};

/// What a token shall be.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub name: Name,
    /// 0 to 15.
    pub level: u8,
    pub expires: Option<Date>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { name: Name::of_a_box(), level: Token::LEVEL_DEFAULT, expires: None }
    }
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("there is a token {0} already; `no ip http token {0}` takes it away")]
    Taken(Name),
    #[error("no token: {0}")]
    Random(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Operation(#[from] OperationError),
}

/// Makes a token and has it in force. It is told here, and nowhere else ever again; `write memory` keeps its hash.
pub async fn issue(control: &dyn Control, by: Editor, wanted: &Wanted) -> Result<Zeroizing<String>, IssueError> {
    let now = control.running().await?;
    if now.running.config.http.tokens.contains_key(&wanted.name) {
        return Err(IssueError::Taken(wanted.name.clone()));
    }
    let (token, hash) = token::new().map_err(IssueError::Random)?;
    let mut entry = json!({ "hash": hash.to_string(), "level": wanted.level });
    if let Some(day) = wanted.expires {
        entry["expires"] = day.to_string().into();
    }
    let mut tree = now.running.tree();
    let http = object(&mut tree).entry("http").or_insert_with(|| json!({}));
    let tokens = object(http).entry("tokens").or_insert_with(|| json!({}));
    object(tokens).insert(wanted.name.to_string(), entry);
    let running = Running::read(&tree, &now.running).map_err(ConfigError::Refused)?;
    control.configure(Change { running, revision: now.revision, by }).await?;
    Ok(token)
}

/// What is no object becomes one: a tree of a configuration has objects here.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        // Made one above.
        _ => unreachable!("an object was just put here"),
    }
}
