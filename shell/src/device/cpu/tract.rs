//! Models on tract: compiled in, pure Rust.
//!
//! tract optimises for fixed shapes, so a *plan* is compiled per shape of the inputs: when the
//! model is loaded for each allowed batch size, and for other shapes when they first come.

use super::CpuOptions;
use super::signature::{self, Dim, Port, check_inputs, contained, model_io};
use crate::device::{ExecuteError, Executor, LoadError};
use crate::models::{DataType, ModelIo, Tensor, push_bytes_element};
use bytes::Bytes;
use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tract_onnx::pb;
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable,
    IntoTValue, TValue, TVec, Tensor as TractTensor, TypedRunnableModel,
};

/// The runtime's name.
pub(super) const NAME: &str = "tract";
/// The version compiled in.
pub(super) const VERSION: &str = "0.23.9";

/// Plans kept for shapes that were not prepared. Each holds packed copies of the weights, so they
/// are few; a model with more live shapes than this recompiles.
const MAX_LAZY_PLANS: usize = 8;

// Values go in and out by copying bytes, and the protocol's are little-endian.
const _: () = assert!(cfg!(target_endian = "little"), "tract's tensors are in native byte order");

type Plan = Arc<TypedRunnableModel>;
type Shapes = Vec<Vec<usize>>;
/// A plan being compiled or compiled; one that failed stays, so that it fails at once next time.
type Slot = Arc<OnceLock<Result<Plan, String>>>;

struct TractExecutor {
    io: ModelIo,
    /// The model as parsed, to compile plans from. Its constants are shared with clones.
    model: InferenceModel,
    /// Ascending; empty for a model that does not batch.
    batch_sizes: Vec<usize>,
    prepared: Vec<(Shapes, Plan)>,
    /// Most recently used last.
    lazy: Mutex<Vec<(Shapes, Slot)>>,
}

/// Loads a model; see [`super::load`].
pub(super) fn load(path: &Path, options: &CpuOptions) -> Result<Arc<dyn Executor>, LoadError> {
    let file = || path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| LoadError::Unreadable { path: file(), message: error.to_string() })?;
    contained(|| prepare(path, &bytes, options))
        .map(|executor| Arc::new(executor) as Arc<dyn Executor>)
        .map_err(|message| LoadError::Invalid { backend: NAME, path: file(), message })
}

fn prepare(path: &Path, mut bytes: &[u8], options: &CpuOptions) -> Result<TractExecutor, String> {
    // Sizes are compiled for, so those a file happens to state for tensors in between would only
    // contradict them.
    let onnx = tract_onnx::onnx().with_ignore_value_info(true);
    let proto = onnx
        .proto_model_for_read(&mut bytes)
        .map_err(|error| format!("it is not an ONNX model, or is cut short: {error:#}"))?;
    let graph = proto.graph.as_ref().ok_or("it is not an ONNX model: it has no graph")?;

    let mut unknown = Vec::new();
    unknown_operators(graph, &|op| onnx.op_register.0.contains_key(op), &mut unknown);
    if !unknown.is_empty() {
        return Err(format!("operators it does not have: {}", unknown.join(", ")));
    }

    let inputs = graph.input.iter();
    let inputs = inputs.filter(|i| graph.initializer.iter().all(|weight| weight.name != i.name));
    let inputs = inputs.map(|input| port("input", input)).collect::<Result<Vec<_>, _>>()?;
    let outputs = graph.output.iter();
    let outputs = outputs.map(|output| port("output", output)).collect::<Result<Vec<_>, _>>()?;
    let io = model_io(inputs, outputs);

    let folder = path.parent().and_then(Path::to_str); // of weights in files of their own
    let parsed = onnx.parse(&proto, folder).map_err(|error| format!("{error:#}"))?;
    if !parsed.unresolved_inputs.is_empty() {
        return Err(format!("tensors that no node makes: {}", parsed.unresolved_inputs.join(", ")));
    }

    let mut batch_sizes = if io.batches { options.batch_sizes.clone() } else { Vec::new() };
    batch_sizes.retain(|&size| size > 0);
    batch_sizes.sort_unstable();
    batch_sizes.dedup();

    let mut executor = TractExecutor {
        io,
        model: parsed.model,
        batch_sizes,
        prepared: Vec::new(),
        lazy: Mutex::new(Vec::new()),
    };
    let known = executor.known_shapes();
    // Side by side: a plan takes tens of milliseconds and more, and the server starts when all
    // are done.
    let plans: Vec<Result<Plan, String>> = std::thread::scope(|scope| {
        let executor = &executor;
        let compiling: Vec<_> =
            known.iter().map(|shapes| scope.spawn(move || executor.compile(shapes))).collect();
        let join = |plan: std::thread::ScopedJoinHandle<'_, _>| {
            plan.join().unwrap_or_else(|_| Err("its compilation panicked".to_owned()))
        };
        compiling.into_iter().map(join).collect()
    });
    executor.prepared = known
        .into_iter()
        .zip(plans)
        .map(|(shapes, plan)| {
            let plan = plan.map_err(|error| format!("with inputs of shape {shapes:?}: {error}"))?;
            Ok((shapes, plan))
        })
        .collect::<Result<_, String>>()?;
    Ok(executor)
}

impl TractExecutor {
    /// The shapes to prepare plans for: none where a dimension besides the batch is free, as its
    /// sizes are not known yet.
    fn known_shapes(&self) -> Vec<Shapes> {
        let shapes_with = |rows: Option<usize>| -> Option<Shapes> {
            let shapes = self.io.inputs.iter().map(|input| {
                let dims = input.shape.iter().enumerate().map(|(axis, &size)| match rows {
                    Some(rows) if axis == 0 => Some(rows),
                    _ => usize::try_from(size).ok(),
                });
                dims.collect()
            });
            shapes.collect()
        };
        if self.io.batches {
            self.batch_sizes.iter().filter_map(|&rows| shapes_with(Some(rows))).collect()
        } else {
            shapes_with(None).into_iter().collect()
        }
    }

    fn compile(&self, shapes: &[Vec<usize>]) -> Result<Plan, String> {
        contained(|| {
            let mut model = self.model.clone();
            for (index, (input, shape)) in self.io.inputs.iter().zip(shapes).enumerate() {
                let datum = datum_type(input.datatype).ok_or("no such type")?;
                let fact = InferenceFact::dt_shape(datum, shape.as_slice());
                model.set_input_fact(index, fact).map_err(|error| format!("{error:#}"))?;
            }
            let model = model.into_optimized().map_err(|error| format!("{error:#}"))?;
            model.into_runnable().map_err(|error| format!("{error:#}"))
        })
    }

    fn plan(&self, inputs: &[Tensor]) -> Result<Plan, String> {
        let fits = |shapes: &Shapes| {
            shapes.len() == inputs.len()
                && shapes.iter().zip(inputs).all(|(shape, tensor)| shape == tensor.shape())
        };
        if let Some((_, plan)) = self.prepared.iter().find(|(shapes, _)| fits(shapes)) {
            return Ok(Arc::clone(plan));
        }
        let shapes: Shapes = inputs.iter().map(|tensor| tensor.shape().to_vec()).collect();
        let slot = {
            // No code under this lock panics half way through a change.
            let mut lazy = self.lazy.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = match lazy.iter().position(|(shapes, _)| fits(shapes)) {
                Some(index) => lazy.remove(index),
                None => {
                    if lazy.len() >= MAX_LAZY_PLANS {
                        lazy.remove(0);
                    }
                    (shapes.clone(), Slot::default())
                }
            };
            let slot = Arc::clone(&entry.1);
            lazy.push(entry);
            slot
        };
        // Outside the lock: calls of other shapes go on while this one compiles.
        slot.get_or_init(|| self.compile(&shapes)).clone()
    }
}

impl Executor for TractExecutor {
    fn backend(&self) -> &'static str {
        NAME
    }

    fn io(&self) -> &ModelIo {
        &self.io
    }

    fn padded_rows(&self, rows: usize) -> usize {
        self.batch_sizes.iter().copied().find(|&size| size >= rows).unwrap_or(rows)
    }

    fn execute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecuteError> {
        check_inputs(NAME, &self.io, inputs)?;
        let values = contained(|| {
            let plan = self.plan(inputs)?;
            let values = inputs.iter().map(to_tract).collect::<Result<TVec<_>, _>>()?;
            plan.run(values).map_err(|error| format!("{error:#}"))
        })
        .map_err(|message| ExecuteError::Failed { backend: NAME, message })?;
        if values.len() != self.io.outputs.len() {
            let message = format!("{} outputs for {}", values.len(), self.io.outputs.len());
            return Err(ExecuteError::BadOutput { backend: NAME, message });
        }
        let outputs = self.io.outputs.iter().zip(&*values).map(|(spec, value)| {
            let data = from_tract(value, spec.datatype).map_err(|message| {
                let message = format!("output '{}': {message}", spec.name);
                ExecuteError::BadOutput { backend: NAME, message }
            })?;
            signature::output(NAME, &self.io, spec, inputs, value.shape().to_vec(), data)
        });
        outputs.collect()
    }
}

/// Collects `operator (node)` of every node, in nested graphs too, whose operator is not `known`.
fn unknown_operators(
    graph: &pb::GraphProto,
    known: &dyn Fn(&str) -> bool,
    unknown: &mut Vec<String>,
) {
    for node in &graph.node {
        if !known(&node.op_type) {
            unknown.push(format!("{} (node '{}')", node.op_type, node.name));
        }
        for attribute in &node.attribute {
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                unknown_operators(graph, known, unknown);
            }
        }
    }
}

fn port(kind: &str, info: &pb::ValueInfoProto) -> Result<Port, String> {
    use pb::tensor_shape_proto::dimension::Value;

    let name = &info.name;
    let Some(pb::type_proto::Value::TensorType(tensor)) =
        info.r#type.as_ref().and_then(|kind| kind.value.as_ref())
    else {
        return Err(format!("{kind} '{name}' is not a tensor"));
    };
    let datatype = data_type(tensor.elem_type).ok_or_else(|| {
        let named = pb::tensor_proto::DataType::try_from(tensor.elem_type);
        let named = named.map_or(tensor.elem_type.to_string(), |named| format!("{named:?}"));
        format!("{kind} '{name}' has elements of type {named}, which tract does not run")
    })?;
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| match &dim.value {
        Some(Value::DimValue(size)) if *size >= 0 => Dim::Fixed(*size),
        Some(Value::DimParam(symbol)) => Dim::free(symbol),
        Some(Value::DimValue(_)) | None => Dim::Free(None),
    });
    Ok(Port { name: name.clone(), datatype, dims: dims.collect() })
}

/// The protocol's name of an ONNX element type that tract runs.
fn data_type(elem_type: i32) -> Option<DataType> {
    use pb::tensor_proto::DataType as Onnx;

    Some(match Onnx::try_from(elem_type).ok()? {
        Onnx::Bool => DataType::Bool,
        Onnx::Uint8 => DataType::Uint8,
        Onnx::Uint16 => DataType::Uint16,
        Onnx::Uint32 => DataType::Uint32,
        Onnx::Uint64 => DataType::Uint64,
        Onnx::Int8 => DataType::Int8,
        Onnx::Int16 => DataType::Int16,
        Onnx::Int32 => DataType::Int32,
        Onnx::Int64 => DataType::Int64,
        Onnx::Float16 => DataType::Fp16,
        Onnx::Float => DataType::Fp32,
        Onnx::Double => DataType::Fp64,
        Onnx::String => DataType::Bytes,
        _ => return None,
    })
}

fn datum_type(datatype: DataType) -> Option<DatumType> {
    Some(match datatype {
        DataType::Bool => DatumType::Bool,
        DataType::Uint8 => DatumType::U8,
        DataType::Uint16 => DatumType::U16,
        DataType::Uint32 => DatumType::U32,
        DataType::Uint64 => DatumType::U64,
        DataType::Int8 => DatumType::I8,
        DataType::Int16 => DatumType::I16,
        DataType::Int32 => DatumType::I32,
        DataType::Int64 => DatumType::I64,
        DataType::Fp16 => DatumType::F16,
        DataType::Fp32 => DatumType::F32,
        DataType::Fp64 => DatumType::F64,
        DataType::Bytes => DatumType::String,
        DataType::Bf16 => return None,
    })
}

fn to_tract(tensor: &Tensor) -> Result<TValue, String> {
    let failed = |error| format!("input '{}': {error:#}", tensor.name());
    let shape = tensor.shape();
    let value = match tensor.datatype() {
        // A `bool` that is neither 0 nor 1 is undefined behaviour, so no bytes are copied.
        DataType::Bool => {
            let values: Vec<bool> = tensor.data().iter().map(|&byte| byte != 0).collect();
            TractTensor::from_shape(shape, &values).map_err(failed)?
        }
        DataType::Bytes => tract_onnx::prelude::tensor1(&signature::strings(tensor)?)
            .into_shape(shape)
            .map_err(failed)?,
        datatype => {
            let datum = datum_type(datatype).ok_or("no such type")?;
            let mut value = TractTensor::zero_dt(datum, shape).map_err(failed)?;
            let mut view = value.try_as_plain_ram_mut().map_err(failed)?;
            let bytes = view.as_bytes_mut();
            if bytes.len() != tensor.data().len() {
                return Err(format!("input '{}' is not as long as its shape", tensor.name()));
            }
            bytes.copy_from_slice(tensor.data());
            value
        }
    };
    Ok(value.into_tvalue())
}

fn from_tract(value: &TractTensor, datatype: DataType) -> Result<Bytes, String> {
    let wanted = datum_type(datatype).ok_or("no such type")?;
    let got = value.datum_type();
    // tract calculates sizes (the output of a Shape, say) in a type of its own.
    let value = if got == DatumType::TDim {
        value.cast_to_dt(wanted).map_err(|error| format!("{error:#}"))?
    } else {
        Cow::Borrowed(value)
    };
    if value.datum_type().unquantized() != wanted {
        return Err(format!("its elements are {got:?}, declared are {datatype}"));
    }
    let view = value.try_as_plain_ram().map_err(|error| format!("{error:#}"))?;
    if datatype != DataType::Bytes {
        return Ok(Bytes::copy_from_slice(view.as_bytes()));
    }
    let mut data = Vec::new();
    for element in view.as_slice::<String>().map_err(|error| format!("{error:#}"))? {
        push_bytes_element(&mut data, element.as_bytes());
    }
    Ok(data.into())
}
