//! Rule: a download is parsed from a request's head, never put together.

use ccgate::cc::AgentId;
use ccgate::route::Download;

fn main() {
    let agent: AgentId = "1001".parse().unwrap();
    let _ = Download { agent };
}
