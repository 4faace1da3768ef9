//! Rule: the upstream is asked for a recording only with an open entry. A permission alone is not one.

use ccgate::cc::Guid;
use ccgate::policy::Authorized;
use ccgate::upstream::Gateway;

async fn ask(gateway: &Gateway, authorized: &Authorized, guid: &Guid) {
    let _ = gateway.download(authorized, guid).await;
}

fn main() {}
