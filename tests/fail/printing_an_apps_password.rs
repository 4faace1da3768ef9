//! Rule: what an app signs in with can't be printed as text.

use ccgate::upstream::DeskSignIn;

fn print(sign_in: &DeskSignIn) -> String {
    format!("{sign_in}")
}

fn main() {}
