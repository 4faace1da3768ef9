//! Rule: only the log makes an open entry; its fields are its own.

use ccgate::audit::OpenEntry;

fn main() {
    let _ = OpenEntry {};
}
