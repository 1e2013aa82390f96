//! Models on ONNX Runtime, whose library is found and loaded at run time.

mod library;

pub use library::{Attempt, Library, NotFound, REMEDY, find};

use super::CpuOptions;
use super::signature::{self, Dim, Port, check_inputs, contained, model_io};
use crate::device::{ExecuteError, Executor, LoadError};
use crate::models::{DataType, ModelIo, Tensor, push_bytes_element};
use bytes::Bytes;
use half::{bf16, f16};
use ort::session::{Session, SessionInputValue, builder::SessionBuilder};
use ort::value::{
    DynValue, Outlet, PrimitiveTensorElementType, TensorElementType, Value, ValueType,
};
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The runtime's name.
pub(super) const NAME: &str = "onnxruntime";

/// Why a model did not load, as far as [`super::load`] treats reasons differently.
pub(super) enum Refusal {
    /// There is no library to load it with.
    NoLibrary(NotFound),
    /// The model is sound, but ONNX Runtime has no kernel for one of its operators and types.
    NoKernel(LoadError),
    /// The file cannot be read or is not a model ONNX Runtime takes.
    Bad(LoadError),
}

impl From<Refusal> for LoadError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoLibrary(missing) => {
                Self::Unavailable { backend: NAME, message: format!("{missing}. {REMEDY}") }
            }
            Refusal::NoKernel(error) | Refusal::Bad(error) => error,
        }
    }
}

/// Loads a model; see [`super::load`].
pub(super) fn load(path: &Path, options: &CpuOptions) -> Result<Arc<dyn Executor>, Refusal> {
    let environment =
        library::environment(options.onnxruntime.as_deref()).map_err(Refusal::NoLibrary)?;
    let file = || path.display().to_string();
    // Asked of the system first: it says better than ONNX Runtime why a file cannot be read.
    std::fs::File::open(path).and_then(|mut file| file.read(&mut [0])).map_err(|error| {
        Refusal::Bad(LoadError::Unreadable { path: file(), message: error.to_string() })
    })?;
    let invalid = |message| LoadError::Invalid { backend: NAME, path: file(), message };

    let mut no_kernel = false;
    let sessions = contained(|| {
        let mut builder = builder(&environment, options)?;
        let session = || {
            builder.commit_from_file(path).map_err(|error| {
                no_kernel = error.code() == ort::ErrorCode::NotImplemented;
                let text = error.to_string();
                // `LoadError` names the file already.
                let prefix = format!("Load model from {} failed:", path.display());
                text.strip_prefix(&prefix).map(str::to_owned).unwrap_or(text)
            })
        };
        std::iter::repeat_with(session)
            .take(options.instances.max(1))
            .collect::<Result<Vec<_>, _>>()
    })
    .map_err(|message| {
        let error = invalid(message);
        if no_kernel { Refusal::NoKernel(error) } else { Refusal::Bad(error) }
    })?;

    let ports = |kind, outlets: &[Outlet]| -> Result<Vec<Port>, Refusal> {
        let ports = outlets.iter().map(|outlet| port(kind, outlet));
        ports.collect::<Result<_, _>>().map_err(|message| Refusal::Bad(invalid(message)))
    };
    let first = sessions.first().expect("at least one session is made");
    let io = model_io(ports("input", first.inputs())?, ports("output", first.outputs())?);
    Ok(Arc::new(OnnxRuntimeExecutor { io, sessions: Sessions::new(sessions) }))
}

fn builder(
    environment: &ort::environment::Environment,
    options: &CpuOptions,
) -> Result<SessionBuilder, String> {
    let builder = Session::builder(environment).map_err(|error| error.to_string())?;
    let builder = builder.with_intra_threads(options.threads.max(1)).map_err(recovered)?;
    let builder = builder.with_inter_threads(1).map_err(recovered)?;
    // Spinning threads win microseconds per call and burn a core in between, which a server's
    // other models and its network threads need.
    let builder = builder.with_intra_op_spinning(false).map_err(recovered)?;
    let builder = builder.with_inter_op_spinning(false).map_err(recovered)?;
    // A pattern is kept per input shape and pays where shapes come again; row counts vary.
    builder.with_memory_pattern(false).map_err(recovered)
}

/// The words of an error that would give the builder back.
fn recovered(error: ort::Error<SessionBuilder>) -> String {
    error.to_string()
}

/// Sessions of one model, lent to one call each.
///
/// ONNX Runtime documents `Run` on one session as safe from several threads, but `ort` found it
/// not to be and takes the session exclusively. So calls run at once on sessions of their own, and
/// the lock is held only to take one and to give it back, never while a model runs.
struct Sessions {
    idle: Mutex<Vec<Session>>,
    returned: Condvar,
}

impl Sessions {
    fn new(sessions: Vec<Session>) -> Self {
        Self { idle: Mutex::new(sessions), returned: Condvar::new() }
    }

    /// Takes a session, waiting until one is idle.
    fn take(&self) -> Loan<'_> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(session) = idle.pop() {
                return Loan { sessions: self, session: Some(session) };
            }
            idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A session on loan, given back when dropped.
struct Loan<'a> {
    sessions: &'a Sessions,
    session: Option<Session>,
}

impl Loan<'_> {
    fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("a loan holds its session until it is dropped")
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.sessions
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(self.session.take());
        self.sessions.returned.notify_one();
    }
}

struct OnnxRuntimeExecutor {
    io: ModelIo,
    sessions: Sessions,
}

impl Executor for OnnxRuntimeExecutor {
    fn backend(&self) -> &'static str {
        NAME
    }

    fn io(&self) -> &ModelIo {
        &self.io
    }

    fn execute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecuteError> {
        check_inputs(NAME, &self.io, inputs)?;
        let failed = |message| ExecuteError::Failed { backend: NAME, message };
        let values = contained(|| inputs.iter().map(to_ort).collect::<Result<Vec<_>, _>>());
        let values = values.map_err(failed)?;

        let mut loan = self.sessions.take();
        let outputs = contained(|| {
            // Without a const argument the array variant would have to be named.
            loan.session().run::<0>(&*values).map_err(|error| error.to_string())
        })
        .map_err(failed)?;

        let outputs = self.io.outputs.iter().enumerate().map(|(index, spec)| {
            let read = contained(|| from_ort(&outputs[index], spec.datatype));
            let (shape, data) = read.map_err(|message| {
                let message = format!("output '{}': {message}", spec.name);
                ExecuteError::BadOutput { backend: NAME, message }
            })?;
            signature::output(NAME, &self.io, spec, inputs, shape, data)
        });
        outputs.collect()
    }
}

fn port(kind: &str, outlet: &Outlet) -> Result<Port, String> {
    let name = outlet.name().to_owned();
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
        return Err(format!("{kind} '{name}' is {}, not a tensor", outlet.dtype()));
    };
    let datatype = data_type(*ty).ok_or_else(|| {
        format!("{kind} '{name}' has elements of type {ty}, which the protocol cannot carry")
    })?;
    let dims = shape.iter().enumerate().map(|(axis, &size)| {
        let symbol = dimension_symbols.get(axis).map_or("", String::as_str);
        if size >= 0 { Dim::Fixed(size) } else { Dim::free(symbol) }
    });
    Ok(Port { name, datatype, dims: dims.collect() })
}

fn data_type(element: TensorElementType) -> Option<DataType> {
    Some(match element {
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Uint32 => DataType::Uint32,
        TensorElementType::Uint64 => DataType::Uint64,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Float16 => DataType::Fp16,
        TensorElementType::Bfloat16 => DataType::Bf16,
        TensorElementType::Float32 => DataType::Fp32,
        TensorElementType::Float64 => DataType::Fp64,
        TensorElementType::String => DataType::Bytes,
        _ => return None,
    })
}

fn to_ort(tensor: &Tensor) -> Result<SessionInputValue<'static>, String> {
    let value = match tensor.datatype() {
        // Any byte but 0 is true; C++ knows only 0 and 1.
        DataType::Bool => numbers(tensor, |[byte]| byte != 0),
        DataType::Uint8 => numbers(tensor, u8::from_le_bytes),
        DataType::Uint16 => numbers(tensor, u16::from_le_bytes),
        DataType::Uint32 => numbers(tensor, u32::from_le_bytes),
        DataType::Uint64 => numbers(tensor, u64::from_le_bytes),
        DataType::Int8 => numbers(tensor, i8::from_le_bytes),
        DataType::Int16 => numbers(tensor, i16::from_le_bytes),
        DataType::Int32 => numbers(tensor, i32::from_le_bytes),
        DataType::Int64 => numbers(tensor, i64::from_le_bytes),
        DataType::Fp16 => numbers(tensor, f16::from_le_bytes),
        DataType::Bf16 => numbers(tensor, bf16::from_le_bytes),
        DataType::Fp32 => numbers(tensor, f32::from_le_bytes),
        DataType::Fp64 => numbers(tensor, f64::from_le_bytes),
        DataType::Bytes => {
            let strings = signature::strings(tensor)?;
            if let Some(index) = strings.iter().position(|string| string.contains('\0')) {
                let name = tensor.name();
                return Err(format!("element {index} of input '{name}' has a NUL byte in it"));
            }
            Value::from_string_array((tensor.shape(), &*strings)).map(Value::into_dyn)
        }
    };
    value.map(Into::into).map_err(|error| format!("input '{}': {error}", tensor.name()))
}

/// A value of the elements that `read` makes of `N` bytes each. Request bytes lie anywhere in
/// memory while elements must be aligned, so they are copied; for these `read`s that is a `memcpy`.
fn numbers<T, const N: usize>(tensor: &Tensor, read: impl Fn([u8; N]) -> T) -> ort::Result<DynValue>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let (elements, _) = tensor.data().as_chunks::<N>();
    let elements: Vec<T> = elements.iter().map(|bytes| read(*bytes)).collect();
    Value::from_array((tensor.shape(), elements)).map(Value::into_dyn)
}

fn from_ort(value: &DynValue, datatype: DataType) -> Result<(Vec<usize>, Bytes), String> {
    let shape = value.dtype().tensor_shape().ok_or("it is not a tensor")?;
    let sizes = shape.iter().map(|&size| usize::try_from(size));
    let sizes: Vec<usize> = sizes.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let data = match datatype {
        DataType::Bool => bytes_of(value, |element: bool| [u8::from(element)]),
        DataType::Uint8 => bytes_of(value, u8::to_le_bytes),
        DataType::Uint16 => bytes_of(value, u16::to_le_bytes),
        DataType::Uint32 => bytes_of(value, u32::to_le_bytes),
        DataType::Uint64 => bytes_of(value, u64::to_le_bytes),
        DataType::Int8 => bytes_of(value, i8::to_le_bytes),
        DataType::Int16 => bytes_of(value, i16::to_le_bytes),
        DataType::Int32 => bytes_of(value, i32::to_le_bytes),
        DataType::Int64 => bytes_of(value, i64::to_le_bytes),
        DataType::Fp16 => bytes_of(value, f16::to_le_bytes),
        DataType::Bf16 => bytes_of(value, bf16::to_le_bytes),
        DataType::Fp32 => bytes_of(value, f32::to_le_bytes),
        DataType::Fp64 => bytes_of(value, f64::to_le_bytes),
        DataType::Bytes if sizes.contains(&0) => Ok(Bytes::new()),
        DataType::Bytes => value.try_extract_strings().map(|(_, strings)| {
            let mut data = Vec::new();
            strings.iter().for_each(|string| push_bytes_element(&mut data, string.as_bytes()));
            data.into()
        }),
    };
    Ok((sizes, data.map_err(|error| error.to_string())?))
}

fn bytes_of<T, const N: usize>(value: &DynValue, write: impl Fn(T) -> [u8; N]) -> ort::Result<Bytes>
where
    T: PrimitiveTensorElementType + Copy,
{
    let (_, elements) = value.try_extract_tensor::<T>()?;
    let mut data = vec![0; elements.len() * N];
    let (chunks, _) = data.as_chunks_mut::<N>();
    chunks.iter_mut().zip(elements).for_each(|(bytes, element)| *bytes = write(*element));
    Ok(data.into())
}
