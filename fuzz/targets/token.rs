//! Any Authorization header and any token: nobody is let through without our signature over exactly that text.

#![no_main]

#[path = "../checks/token.rs"]
mod token;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    token::check(data);
});
