//! Rule: an entry is opened with room in the budgets. A permission that nobody held against them is not enough.

use ccgate::audit::{Log, SessionUse};
use ccgate::policy::Authorized;

async fn open(log: &Log, authorized: Authorized, session: SessionUse) {
    let _ = log.open(authorized, session).await;
}

fn main() {}
