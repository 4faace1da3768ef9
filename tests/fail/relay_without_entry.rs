//! Rule: a file is relayed with its open entry, so that its end is recorded.

use ccgate::relay::Relay;
use ccgate::session::Hold;
use ccgate::upstream::File;
use tokio::time::Instant;

fn relay(relay: &Relay, file: File, hold: Hold) {
    let _ = relay.response(file, hold, Instant::now());
}

fn main() {}
