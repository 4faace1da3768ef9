//! The files that a configuration names, found by the names of its keys: whoever adds a key need not think of this.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::change::is_start_only;
use crate::config::Loaded;
use crate::config::problem::Origin;
use crate::config::schema::{child, schema};
use crate::config::shape::join;
use crate::config::tree::Node;

/// What we write ourselves.
const OURS: [&str; 1] = ["sessions.state_file"];

/// Folders whose rules are read when the configuration is. Not `sessions.accounts_dir`: an agent's file is read when it
/// is needed. Not `audit.dir`, which we write.
const FOLDERS: [&str; 1] = ["policy.dir"];

/// A file or folder that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The key that names it, as in `server.tls.key_file`.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is a folder, whose `*.cedar` files count.
    pub folder: bool,
    /// Whether it holds a secret.
    pub secret: bool,
    /// Whether it is read at a start only.
    pub start_only: bool,
}

/// Where a file is: names that stand in the configuration's file begin in its folder, others in the working directory.
pub(in crate::config) fn resolve(tree: &Node, folder: &Path, key: &str, name: PathBuf) -> PathBuf {
    match tree.origin(key) {
        Origin::Line(_) => folder.join(name),
        _ => name,
    }
}

impl Named {
    /// Whether what it holds by now waits for a start. Files of the way to NATS are read again with each connection.
    pub fn waits(&self) -> bool {
        self.start_only && !self.key.starts_with("audit.ship.nats.")
    }
}

impl Loaded {
    /// The files and folders whose content is part of the configuration, in the order of their keys.
    pub fn named(&self) -> Vec<Named> {
        let mut found = Vec::new();
        self.find(&self.written, Some(schema()), "", &mut found);
        found
    }

    fn find(&self, value: &Value, schema: Option<&Value>, path: &str, found: &mut Vec<Named>) {
        match value {
            Value::Object(keys) => {
                for (key, value) in keys {
                    let schema = schema.and_then(|schema| child(schema, key));
                    self.find(value, schema, &join(path, key), found);
                }
            }
            Value::Array(items) => {
                let schema = schema.and_then(|schema| schema.get("items"));
                for (index, item) in items.iter().enumerate() {
                    self.find(item, schema, &format!("{path}[{index}]"), found);
                }
            }
            Value::String(name) => {
                let folder = FOLDERS.contains(&path);
                if !folder && (!path.ends_with("_file") || OURS.contains(&path)) {
                    return;
                }
                found.push(Named {
                    key: path.to_owned(),
                    path: resolve(&self.tree, self.folder(), path, PathBuf::from(name)),
                    folder,
                    secret: schema.is_none_or(|schema| schema.get("x-secret").is_some()),
                    start_only: is_start_only(path),
                });
            }
            _ => {}
        }
    }

    fn folder(&self) -> &Path {
        self.source.path.parent().unwrap_or(Path::new(""))
    }
}
