//! A Guid is a bearer secret: it cannot be written into a record.

use ccgate::cc::Guid;

fn recorded(guid: &Guid) -> serde_json::Result<String> {
    serde_json::to_string(guid)
}

fn main() {}
