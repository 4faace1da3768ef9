//! Any bytes as the files of an audit log: reading and verifying them never panics and always ends.

#![no_main]

mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reader::read(data));
