//! However much somebody else writes into a record, it fits into a line, and that line is one object with the same texts.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::line::LINE_BYTES_MAX;
use super::super::record::{Asked, Ended as EndRecord, Noted};
use super::*;

/// Every character that ends a line for somebody, commands a terminal or is cut in half by careless hands.
const HOSTILE: &str = "\r\n\u{1b}[2J\0\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\u{fffd}\"\\/{}\u{e9}😀";

