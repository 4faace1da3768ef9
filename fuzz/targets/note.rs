//! Any signed note, key, checkpoint or proof: nothing opens without a signature, and what is printed reads the same.

#![no_main]

#[path = "../checks/note.rs"]
mod note;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    note::check(data);
});
