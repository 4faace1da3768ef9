//! Any bytes as the files of an audit log: asking it who listened to what never panics and always ends.

#![no_main]

#[path = "../checks/audit_questions.rs"]
mod audit_questions;
#[path = "../checks/log_dir.rs"]
mod log_dir;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    audit_questions::check(data);
});
