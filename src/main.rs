//! Starts ccgate: arguments in, exit code out. Nothing else.

fn main() {}
