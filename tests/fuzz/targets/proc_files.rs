//! The property `proc_files`, on whatever bytes libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rekindle::fuzzing::proc_files(bytes));
