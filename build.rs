//! Makes the static binary smaller; other builds are left alone.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Addresses that must be relocated are packed. The musl that comes with Rust reads that form.
    if target_is("ENV", "musl") && target_is("ARCH", "x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

fn target_is(property: &str, word: &str) -> bool {
    env::var(format!("CARGO_CFG_TARGET_{property}")).is_ok_and(|found| found == word)
}
