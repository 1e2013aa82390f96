//! Writes the memory map of the machine that QEMU plays for the target.

use std::path::PathBuf;

fn main() {
    let variable = |name| std::env::var(name).expect("cargo sets it");
    let (flash, ram) = match variable("TARGET").as_str() {
        "thumbv6m-none-eabi" => ("256K", "16K"), // microbit
        _ => ("4M", "4M"),                       // mps2-an386
    };
    let out = PathBuf::from(variable("OUT_DIR"));
    let map = format!(
        "MEMORY {{\n  FLASH : ORIGIN = 0x00000000, LENGTH = {flash}\n  \
         RAM : ORIGIN = 0x20000000, LENGTH = {ram}\n}}\n"
    );
    std::fs::write(out.join("memory.x"), map).expect("OUT_DIR can be written");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=build.rs");
}
