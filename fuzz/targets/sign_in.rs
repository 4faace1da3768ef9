//! Any body of an app's sign-in: the password never stands in what is printed of it.

#![no_main]

#[path = "../checks/sign_in.rs"]
mod sign_in;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sign_in::check(data);
});
