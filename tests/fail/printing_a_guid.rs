//! A Guid is a bearer secret: it cannot be shown.

use ccgate::cc::Guid;

fn shown(guid: &Guid) -> String {
    format!("{guid}")
}

fn main() {}
