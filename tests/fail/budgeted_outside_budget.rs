//! Rule: only the budgets say that there is room: nobody else makes a `Budgeted`.

use ccgate::budget::{Budgeted, Reservation};
use ccgate::policy::Authorized;

fn make(authorized: Authorized, reservation: Reservation) -> Budgeted {
    Budgeted { authorized, reservation }
}

fn main() {}
