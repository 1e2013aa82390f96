//! Helpers for TensorForge's suites.

pub mod onnx;
