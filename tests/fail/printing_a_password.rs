//! Rule: what a sign-in takes can't be printed as text.

use ccgate::upstream::SignInRequest;

fn print(request: &SignInRequest<'_>) -> String {
    format!("{}", request.password)
}

fn main() {}
