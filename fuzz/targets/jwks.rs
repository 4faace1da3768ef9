//! Any key set: reading it never panics, and no key is taken that does not say it is for signatures.

#![no_main]

#[path = "../checks/jwks.rs"]
mod jwks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    jwks::check(data);
});
