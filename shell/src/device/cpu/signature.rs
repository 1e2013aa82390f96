//! What both runtimes share: a model's inputs and outputs, and the checks at its border.

use crate::device::ExecuteError;
use crate::models::{DataType, ModelIo, Tensor, TensorSpec};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A dimension as the model declares it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Dim {
    /// Always this size.
    Fixed(i64),
    /// Any size; dimensions of one name have the same.
    Free(Option<String>),
}

impl Dim {
    /// A free dimension of this name. Exporters that know no name number theirs, a new one for
    /// each tensor: `unk__7` (TensorFlow), `p2o.DynamicDimension.7` (Paddle).
    pub(super) fn free(name: &str) -> Self {
        let unknown = name.is_empty()
            || name == "?"
            || name.starts_with("unk__")
            || name.starts_with("p2o.DynamicDimension.");
        Self::Free((!unknown).then(|| name.to_owned()))
    }
}

/// An input or output as the model declares it.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) datatype: DataType,
    pub(super) dims: Vec<Dim>,
}

/// The model's inputs and outputs. It batches when the first dimension of all of them is free and
/// no two of those have different names.
pub(super) fn model_io(inputs: Vec<Port>, outputs: Vec<Port>) -> ModelIo {
    let mut symbol = None;
    let batches = !inputs.is_empty()
        && inputs.iter().chain(&outputs).all(|port| match port.dims.first() {
            Some(Dim::Free(None)) => true,
            Some(Dim::Free(Some(name))) => *symbol.get_or_insert(name) == name,
            Some(Dim::Fixed(_)) | None => false,
        });
    ModelIo {
        inputs: inputs.iter().map(spec).collect(),
        outputs: outputs.iter().map(spec).collect(),
        batches,
    }
}

fn spec(port: &Port) -> TensorSpec {
    let shape = port.dims.iter().map(|dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Free(_) => -1,
    });
    TensorSpec { name: port.name.clone(), datatype: port.datatype, shape: shape.collect() }
}

/// Refuses inputs the model does not take. Requests are checked long before; this keeps a mistake
/// above from reaching a runtime as memory of the wrong size.
pub(super) fn check_inputs(
    backend: &'static str,
    io: &ModelIo,
    inputs: &[Tensor],
) -> Result<(), ExecuteError> {
    if inputs.len() != io.inputs.len() {
        let message = format!("it takes {} inputs, {} came", io.inputs.len(), inputs.len());
        return Err(ExecuteError::Failed { backend, message });
    }
    for (spec, tensor) in io.inputs.iter().zip(inputs) {
        if spec.datatype != tensor.datatype() || !spec.accepts_shape(tensor.shape()) {
            let message = format!(
                "input '{}' takes {} of shape {:?}, but {} of shape {:?} came",
                spec.name,
                spec.datatype,
                spec.shape,
                tensor.datatype(),
                tensor.shape()
            );
            return Err(ExecuteError::Failed { backend, message });
        }
    }
    Ok(())
}

/// Makes an output of what the runtime gave for `spec`, if that is what the model declares.
pub(super) fn output(
    backend: &'static str,
    io: &ModelIo,
    spec: &TensorSpec,
    inputs: &[Tensor],
    shape: Vec<usize>,
    data: Bytes,
) -> Result<Tensor, ExecuteError> {
    // Without a declared shape there is nothing to hold the output to.
    if !spec.shape.is_empty() && !spec.accepts_shape(&shape) {
        let message =
            format!("output '{}' has shape {shape:?}, declared is {:?}", spec.name, spec.shape);
        return Err(ExecuteError::BadOutput { backend, message });
    }
    let rows = inputs.first().and_then(|tensor| tensor.shape().first());
    if io.batches && shape.first() != rows {
        let rows = rows.copied().unwrap_or_default();
        let message = format!(
            "output '{}' has shape {shape:?} for {rows} rows in, so rows cannot be told apart",
            spec.name
        );
        return Err(ExecuteError::BadOutput { backend, message });
    }
    Tensor::new(spec.name.clone(), spec.datatype, shape, data)
        .map_err(|error| ExecuteError::BadOutput { backend, message: error.to_string() })
}

/// Runs `work`, turning a panic into its message: a runtime that panics over one model or one
/// request must not take the server down.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Nothing of ours is left half changed: `work` only reads what it borrows, or lends it to the
    // runtime, whose state is its own to keep whole.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", text.unwrap_or("without a message")))
    })
}

/// The elements of a `BYTES` tensor as ONNX strings.
pub(super) fn strings(tensor: &Tensor) -> Result<Vec<String>, String> {
    let strings = tensor.bytes_elements().enumerate().map(|(index, element)| {
        String::from_utf8(element.to_vec()).map_err(|_| {
            format!("element {index} of input '{}' is not UTF-8, as ONNX asks", tensor.name())
        })
    });
    strings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_batches_when_one_free_dimension_leads_everything() {
        let batches = |inputs: &[&[&str]], outputs: &[&[&str]]| {
            let dim = |dim: &&str| dim.parse().map_or_else(|_| Dim::free(dim), Dim::Fixed);
            let port = |dims: &&[&str]| Port {
                name: "t".into(),
                datatype: DataType::Fp32,
                dims: dims.iter().map(dim).collect(),
            };
            let ports = |ports: &[&[&str]]| ports.iter().map(port).collect();
            model_io(ports(inputs), ports(outputs)).batches
        };
        assert!(batches(&[&["N", "4"]], &[&["N"]]));
        assert!(batches(&[&["unk__3"], &["N"]], &[&["?"]]));
        assert!(batches(&[&["p2o.DynamicDimension.0"]], &[&["p2o.DynamicDimension.2"]]));
        assert!(!batches(&[&["N"]], &[&["M"]]), "rows in are not rows out");
        assert!(!batches(&[&["N"], &["M"]], &[&["N"]]));
        assert!(!batches(&[&["N"], &["4"]], &[&["N"]]));
        assert!(!batches(&[&["N"]], &[&[]]), "a scalar has no rows");
        assert!(!batches(&[], &[&["N"]]), "without inputs there is nothing to join");
    }

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(contained::<()>(|| panic!("of {}", 1)), Err("it panicked: of 1".to_owned()));
        assert_eq!(contained(|| Ok(1)), Ok(1));
    }
}
