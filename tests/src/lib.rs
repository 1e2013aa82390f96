//! What the suites share.

pub mod onnx;
pub mod program;
pub mod raw_http;
