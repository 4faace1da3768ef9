//! Any Set-GUID header: what is taken can be sent, is never printed, and is found in a text that holds it.

#![no_main]

#[path = "../checks/set_guid.rs"]
mod set_guid;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    set_guid::check(data);
});
