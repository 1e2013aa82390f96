//! TensorForge as a std library: the service around `tensorforge-core`'s decisions.

pub mod contracts;
pub mod device;
pub mod models;
