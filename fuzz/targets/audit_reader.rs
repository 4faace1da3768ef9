//! Any bytes as the files of an audit log: reading and verifying them never panics and always ends.

#![no_main]

#[path = "../checks/audit_reader.rs"]
mod audit_reader;
#[path = "../checks/log_dir.rs"]
mod log_dir;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    audit_reader::check(data);
});
