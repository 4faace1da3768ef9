//! Rule: an entry has one end. Closing consumes it.

use ccgate::audit::{End, OpenEntry};

fn close(entry: OpenEntry, first: End, second: End) {
    entry.close(first);
    entry.close(second);
}

fn main() {}
