//! What the suites share.

pub mod onnx;
pub mod program;
pub mod prometheus;
pub mod raw_http;
