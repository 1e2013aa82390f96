//! The `tensorforge` program.

fn main() {}
