//! Models on the CPU: ONNX through tract or ONNX Runtime.
