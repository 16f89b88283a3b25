//! The property `env_file`, on whatever bytes libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rekindle::fuzzing::env_file(bytes));
