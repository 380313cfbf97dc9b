//! A configuration for those who may look and not touch: without the hashes of passwords and tokens.

use serde_json::Value;

use crate::config::Config;

/// Instead of a hash.
const INSTEAD: &str = "<removed>";
/// Keys of the file that have one.
const KEYS: [&str; 3] = ["secret", "enable-secret", "hash"];

/// Takes them out of a tree with the keys of the file, wherever they stand: also of what is not in force.
pub fn without_secrets(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            for (key, value) in map {
                // An object may be called so; what has a hash is a text.
                if KEYS.contains(&key.as_str()) && value.is_string() {
                    *value = INSTEAD.into();
                } else {
                    without_secrets(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(without_secrets),
        _ => {}
    }
}

/// Takes those of a configuration out of its text.
pub fn without_secrets_of(config: &Config, text: String) -> String {
    let users = config.users.values().filter_map(|user| user.secret.as_ref());
    let passwords = users.chain(&config.enable_secret).map(|secret| secret.as_str().to_owned());
    let tokens = config.http.tokens.values().map(|token| token.hash.to_string());
    passwords.chain(tokens).fold(text, |text, secret| text.replace(&secret, INSTEAD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::running::tree_of;
    use crate::config::{testing, to_yaml};

    #[test]
    fn of_no_configuration_a_hash_is_left() {
        let mut had = 0;
        for seed in 0..200 {
            let config = testing::config(seed, 3);
            let mut tree = tree_of(&config);
            let before = to_yaml(&config);
            let is_hash = |text: &str| ["$argon2id$", "$6$", "sha256:"].iter().any(|mark| text.contains(mark));
            had += u32::from(is_hash(&before));
            without_secrets(&mut tree);
            assert!(!is_hash(&tree.to_string()), "{tree}");
            let after = without_secrets_of(&config, before);
            assert!(!is_hash(&after), "{after}");
        }
        assert!(had > 50, "{had}");
    }
}
