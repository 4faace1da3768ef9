//! Rule: an entry is opened with a permission, never with a caller and a download that nobody decided about.

use ccgate::audit::{Log, SessionUse};
use ccgate::authn::Caller;

async fn open(log: &Log, caller: Caller, session: SessionUse) {
    let _ = log.open(caller, session).await;
}

fn main() {}
