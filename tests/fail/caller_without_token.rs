//! Rule: a caller comes from a verified token. There is no public way to make one.

use ccgate::authn::Caller;

fn main() {
    let _maker = Caller::new;
}
