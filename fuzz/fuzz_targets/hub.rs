//! `just fuzz hub`
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lora_fuzz::run("hub", bytes));
