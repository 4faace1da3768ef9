//! Any text as a reference to a recording: one recording has one spelling.

#![no_main]

#[path = "../checks/file_ref.rs"]
mod file_ref;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    file_ref::check(data);
});
