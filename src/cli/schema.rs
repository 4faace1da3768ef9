//! `ccgate schema`: the JSON Schema of the config file. It reads nothing.

use std::io::{self, Write};

use super::Exit;
use crate::config;

/// Prints the schema.
pub fn schema(out: &mut dyn Write) -> io::Result<Exit> {
    serde_json::to_writer_pretty(&mut *out, config::schema())?;
    writeln!(out)?;
    Ok(Exit::Ok)
}
