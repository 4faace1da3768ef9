//! Rule: a call about a seat is let through by the policy alone.

use ccgate::policy::Seated;

fn main() {
    let _ = Seated;
}
