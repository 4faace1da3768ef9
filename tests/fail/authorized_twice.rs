//! One decision is good for one download: an `Authorized` is consumed, never copied.

use ccgate::policy::Authorized;

fn main() {
    let copied = <Authorized as Clone>::clone;
}
