//! Only the policy says yes: nobody else makes an `Authorized`.

use ccgate::policy::Authorized;

fn main() {
    let _maker = Authorized::new;
}
