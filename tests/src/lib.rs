//! What the suites share.

pub mod program;
pub mod raw_http;
