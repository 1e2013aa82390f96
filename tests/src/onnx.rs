//! Small ONNX models, built in memory.
//!
//! ```
//! use tensorforge::models::DataType;
//! use tensorforge_tests::onnx::{Dim, Graph};
//!
//! let rows = [Dim::Any("N"), Dim::Size(3)];
//! let doubled = Graph::new()
//!     .input("x", DataType::Fp32, &rows)
//!     .output("y", DataType::Fp32, &rows)
//!     .node("Add", &["x", "x"], &["y"])
//!     .to_bytes();
//! assert!(!doubled.is_empty());
//! ```

use prost::Message;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tensorforge::models::DataType;
use tract_onnx::pb;

/// A dimension of an input or output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dim {
    /// Always this size.
    Size(i64),
    /// Any size, the same wherever this name stands; `""` names none.
    Any(&'static str),
}

/// The usual batch dimension.
pub const BATCH: Dim = Dim::Any("N");

/// A model being put together.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    graph: pb::GraphProto,
}

impl Graph {
    /// A model without anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input.
    #[must_use]
    pub fn input(mut self, name: &str, datatype: DataType, dims: &[Dim]) -> Self {
        self.graph.input.push(value_info(name, elem_type(datatype), dims));
        self
    }

    /// Adds an input of an ONNX element type that the protocol may not have.
    #[must_use]
    pub fn raw_input(mut self, name: &str, elem_type: i32, dims: &[Dim]) -> Self {
        self.graph.input.push(value_info(name, elem_type, dims));
        self
    }

    /// Adds an output.
    #[must_use]
    pub fn output(mut self, name: &str, datatype: DataType, dims: &[Dim]) -> Self {
        self.graph.output.push(value_info(name, elem_type(datatype), dims));
        self
    }

    /// Adds an output of an ONNX element type that the protocol may not have.
    #[must_use]
    pub fn raw_output(mut self, name: &str, elem_type: i32, dims: &[Dim]) -> Self {
        self.graph.output.push(value_info(name, elem_type, dims));
        self
    }

    /// Adds a weight.
    #[must_use]
    pub fn weight(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.graph.initializer.push(pb::TensorProto {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: elem_type(DataType::Fp32),
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..Default::default()
        });
        self
    }

    /// Adds a node without attributes; its name is its first output's.
    #[must_use]
    pub fn node(mut self, operator: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        self.graph.node.push(pb::NodeProto {
            name: outputs.first().copied().unwrap_or_default().to_owned(),
            op_type: operator.to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs.iter().map(|&name| name.to_owned()).collect(),
            ..Default::default()
        });
        self
    }

    /// The model file's bytes: IR version 8, operator set 17.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let model = pb::ModelProto {
            ir_version: 8,
            opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }],
            producer_name: "tensorforge-tests".to_owned(),
            graph: Some(pb::GraphProto { name: "model".to_owned(), ..self.graph }),
            ..Default::default()
        };
        model.encode_to_vec()
    }
}

/// `y = x`, for `x` of any type and shape.
#[must_use]
pub fn identity(datatype: DataType, dims: &[Dim]) -> Vec<u8> {
    unary("Identity", datatype, dims)
}

/// `y = operator(x)`, both of one type and shape.
#[must_use]
pub fn unary(operator: &str, datatype: DataType, dims: &[Dim]) -> Vec<u8> {
    Graph::new()
        .input("x", datatype, dims)
        .output("y", datatype, dims)
        .node(operator, &["x"], &["y"])
        .to_bytes()
}

/// `sum = a + b`: two inputs.
#[must_use]
pub fn add(datatype: DataType, dims: &[Dim]) -> Vec<u8> {
    Graph::new()
        .input("a", datatype, dims)
        .input("b", datatype, dims)
        .output("sum", datatype, dims)
        .node("Add", &["a", "b"], &["sum"])
        .to_bytes()
}

/// Three features to two classes: `scores = softmax(relu(x · w1) · w2)`, with a batch dimension.
#[must_use]
pub fn classifier() -> Vec<u8> {
    let w1: Vec<f32> = (0..12).map(|i| ((i * 7 % 11) as f32 - 5.0) / 4.0).collect();
    let w2: Vec<f32> = (0..8).map(|i| ((i * 5 % 7) as f32 - 3.0) / 2.0).collect();
    Graph::new()
        .input("x", DataType::Fp32, &[BATCH, Dim::Size(3)])
        .output("scores", DataType::Fp32, &[BATCH, Dim::Size(2)])
        .weight("w1", &[3, 4], &w1)
        .weight("w2", &[4, 2], &w2)
        .node("MatMul", &["x", "w1"], &["hidden"])
        .node("Relu", &["hidden"], &["active"])
        .node("MatMul", &["active", "w2"], &["logits"])
        .node("Softmax", &["logits"], &["scores"])
        .to_bytes()
}

/// `y = table[index]` over a table of four values. An index outside of it fails at run time.
#[must_use]
pub fn lookup() -> Vec<u8> {
    Graph::new()
        .input("index", DataType::Int64, &[BATCH, Dim::Size(1)])
        .output("y", DataType::Fp32, &[BATCH, Dim::Size(1)])
        .weight("table", &[4], &[10.0, 20.0, 30.0, 40.0])
        .node("Gather", &["table", "index"], &["y"])
        .to_bytes()
}

/// A model whose only operator, `Teleport`, exists nowhere.
#[must_use]
pub fn unknown_operator() -> Vec<u8> {
    unary("Teleport", DataType::Fp32, &[BATCH, Dim::Size(2)])
}

/// A model file in the temporary folder, deleted when dropped.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
}

impl ModelFile {
    /// Writes `bytes` to a new file.
    ///
    /// # Panics
    /// When the temporary folder cannot be written.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tensorforge-{}-{count}.onnx", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).expect("the temporary folder can be written");
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ModelFile {
    fn drop(&mut self) {
        // A file left behind in the temporary folder fails no test.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// ONNX's number for an element type.
#[must_use]
pub fn elem_type(datatype: DataType) -> i32 {
    use pb::tensor_proto::DataType as Onnx;

    let onnx = match datatype {
        DataType::Bool => Onnx::Bool,
        DataType::Uint8 => Onnx::Uint8,
        DataType::Uint16 => Onnx::Uint16,
        DataType::Uint32 => Onnx::Uint32,
        DataType::Uint64 => Onnx::Uint64,
        DataType::Int8 => Onnx::Int8,
        DataType::Int16 => Onnx::Int16,
        DataType::Int32 => Onnx::Int32,
        DataType::Int64 => Onnx::Int64,
        DataType::Fp16 => Onnx::Float16,
        DataType::Bf16 => Onnx::Bfloat16,
        DataType::Fp32 => Onnx::Float,
        DataType::Fp64 => Onnx::Double,
        DataType::Bytes => Onnx::String,
        other => unreachable!("the protocol grew the type {other}; name it here"),
    };
    onnx as i32
}

fn value_info(name: &str, elem_type: i32, dims: &[Dim]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};

    let dims = dims.iter().map(|dim| {
        let value = match *dim {
            Dim::Size(size) => Some(Value::DimValue(size)),
            Dim::Any("") => None,
            Dim::Any(name) => Some(Value::DimParam(name.to_owned())),
        };
        Dimension { value, ..Default::default() }
    });
    let shape = Some(pb::TensorShapeProto { dim: dims.collect() });
    let tensor = pb::type_proto::Tensor { elem_type, shape };
    let value = Some(pb::type_proto::Value::TensorType(tensor));
    let r#type = Some(pb::TypeProto { value, ..Default::default() });
    pb::ValueInfoProto { name: name.to_owned(), r#type, ..Default::default() }
}
