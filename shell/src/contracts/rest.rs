//! The REST form of inference messages: JSON, and JSON followed by raw tensor bytes.
//!
//! With the binary-tensor extension a body is a JSON header of
//! [`HEADER_LENGTH`] bytes, then the data of each tensor that has a `binary_data_size` parameter,
//! in order. Without that header the whole body is JSON. The two mix freely: each tensor chooses.

use super::{InferRequest, InferResponse, Parameters, RequestedOutput, json_data, parameters};
use crate::models::{DataType, Tensor, TensorError};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The HTTP header that says how long the JSON part is.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// Dimensions a tensor may have.
pub const MAX_RANK: usize = 32;

/// Why a body is not an inference message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The JSON part is not what the protocol asks for.
    #[error("the {what} is not valid: {source}")]
    Json {
        /// `request` or `response`.
        what: &'static str,
        /// The parser's words, with line and column.
        source: serde_json::Error,
    },
    /// The stated JSON length exceeds the body.
    #[error("Inference-Header-Content-Length is {stated}, but the body has only {body} bytes")]
    HeaderTooLong {
        /// The stated length.
        stated: usize,
        /// The body's length.
        body: usize,
    },
    /// A tensor has neither data nor a binary size.
    #[error("tensor '{name}' has no data: give 'data' or the parameter 'binary_data_size'")]
    NoData {
        /// The tensor.
        name: String,
    },
    /// A tensor has both.
    #[error("tensor '{name}' has both 'data' and 'binary_data_size'; give one")]
    TwiceData {
        /// The tensor.
        name: String,
    },
    /// A parameter has the wrong type.
    #[error("{place}: the parameter '{parameter}' must be {expected}")]
    BadParameter {
        /// Where it stands.
        place: String,
        /// Its name.
        parameter: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The binary part ends before a tensor's data does.
    #[error("tensor '{name}' has binary_data_size {size}, but only {left} bytes are left")]
    Truncated {
        /// The tensor.
        name: String,
        /// Bytes it claims.
        size: u64,
        /// Bytes there are.
        left: usize,
    },
    /// Bytes remain after the last tensor.
    #[error("{0} bytes follow the last binary tensor")]
    Trailing(usize),
    /// A JSON value is not of the tensor's type.
    #[error("tensor '{name}': {source}")]
    BadValue {
        /// The tensor.
        name: String,
        /// The value and its place in the data.
        source: serde_json::Error,
    },
    /// Data and shape disagree.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// More dimensions than any model has.
    #[error("tensor '{name}' has {rank} dimensions; at most {MAX_RANK} are taken")]
    TooManyDimensions {
        /// The tensor.
        name: String,
        /// Its dimensions.
        rank: usize,
    },
    /// Something the protocol has and this server does not.
    #[error("{place}: {feature} is not supported by this server")]
    Unsupported {
        /// Where it was asked for.
        place: String,
        /// What was asked for.
        feature: &'static str,
    },
}

/// Why a message cannot be written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// JSON has no form for this tensor's values.
    #[error("tensor '{name}' {why}, which JSON cannot hold: ask for it as binary data")]
    NotJson {
        /// The tensor.
        name: String,
        /// What it holds.
        why: String,
    },
}

/// A message ready to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// Length of the JSON part when raw tensor bytes follow it: the value of [`HEADER_LENGTH`].
    pub header_length: Option<usize>,
}

#[derive(Deserialize)]
struct RequestHeader<'a> {
    #[serde(default)]
    id: String,
    #[serde(default, deserialize_with = "parameters::read")]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<TensorHeader<'a>>,
    #[serde(default)]
    outputs: Vec<OutputHeader>,
}

#[derive(Deserialize)]
struct ResponseHeader<'a> {
    model_name: String,
    #[serde(default)]
    model_version: String,
    #[serde(default)]
    id: String,
    #[serde(default, deserialize_with = "parameters::read")]
    parameters: Parameters,
    #[serde(borrow)]
    outputs: Vec<TensorHeader<'a>>,
}

#[derive(Deserialize)]
struct TensorHeader<'a> {
    name: String,
    datatype: DataType,
    shape: Vec<usize>,
    #[serde(default, deserialize_with = "parameters::read")]
    parameters: Parameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputHeader {
    name: String,
    #[serde(default, deserialize_with = "parameters::read")]
    parameters: Parameters,
}

/// Reads a request body. `header_length` is the value of [`HEADER_LENGTH`], if sent.
///
/// Binary tensor data is not copied: tensors share the body's memory.
///
/// # Errors
/// [`DecodeError`] names the tensor, or line and column, at fault.
pub fn decode_request(
    body: &Bytes,
    header_length: Option<usize>,
) -> Result<InferRequest, DecodeError> {
    if header_length == Some(0) {
        return Err(DecodeError::Unsupported {
            place: "request".into(),
            feature: "a body without JSON (Inference-Header-Content-Length: 0)",
        });
    }
    let (json, mut binary) = split(body, header_length)?;
    let header: RequestHeader<'_> = serde_json::from_slice(&json)
        .map_err(|source| DecodeError::Json { what: "request", source })?;
    let inputs = tensors(header.inputs, &mut binary)?;
    let binary_outputs = flag(&header.parameters, "binary_data_output", || "request".into())?;
    let output = |output: OutputHeader| {
        let place = || format!("output '{}'", output.name);
        if output.parameters.contains_key("classification") {
            let (place, feature) = (place(), "classification");
            return Err(DecodeError::Unsupported { place, feature });
        }
        refuse_shared_memory(&output.parameters, place)?;
        let binary = match output.parameters.contains_key("binary_data") {
            true => flag(&output.parameters, "binary_data", place)?,
            false => binary_outputs,
        };
        Ok(RequestedOutput { name: output.name, binary })
    };
    let outputs = header.outputs.into_iter().map(output).collect::<Result<_, _>>()?;
    Ok(InferRequest {
        id: header.id,
        parameters: header.parameters,
        inputs,
        outputs,
        binary_outputs,
    })
}

/// Reads a response body, as a client does. `header_length` is the value of [`HEADER_LENGTH`].
///
/// # Errors
/// [`DecodeError`] names the tensor, or line and column, at fault.
pub fn decode_response(
    body: &Bytes,
    header_length: Option<usize>,
) -> Result<InferResponse, DecodeError> {
    let (json, mut binary) = split(body, header_length)?;
    let header: ResponseHeader<'_> = serde_json::from_slice(&json)
        .map_err(|source| DecodeError::Json { what: "response", source })?;
    Ok(InferResponse {
        model_name: header.model_name,
        model_version: header.model_version,
        id: header.id,
        parameters: header.parameters,
        outputs: tensors(header.outputs, &mut binary)?,
    })
}

/// Writes a response; `binary` says of each output whether to send it as raw bytes.
///
/// # Errors
/// [`EncodeError`] when an output's values have no JSON form.
pub fn encode_response(
    response: &InferResponse,
    binary: impl Fn(&str) -> bool,
) -> Result<Body, EncodeError> {
    let mut writer = Writer::open();
    writer.text("model_name", &response.model_name);
    writer.text("model_version", &response.model_version);
    if !response.id.is_empty() {
        writer.text("id", &response.id);
    }
    writer.parameters(&response.parameters);
    writer.tensors("outputs", &response.outputs, binary)?;
    Ok(writer.close())
}

/// Writes a request, as a client does; `binary` says whether its inputs go as raw bytes.
/// The form of the outputs is as the request says.
///
/// # Errors
/// [`EncodeError`] when an input's values have no JSON form.
pub fn encode_request(request: &InferRequest, binary: bool) -> Result<Body, EncodeError> {
    let mut writer = Writer::open();
    if !request.id.is_empty() {
        writer.text("id", &request.id);
    }
    let mut parameters = request.parameters.clone();
    if request.binary_outputs && request.outputs.is_empty() {
        parameters.insert("binary_data_output".into(), true.into());
    }
    writer.parameters(&parameters);
    if !request.outputs.is_empty() {
        let outputs: Vec<_> = request
            .outputs
            .iter()
            .map(|output| {
                serde_json::json!({
                    "name": output.name,
                    "parameters": {"binary_data": output.binary},
                })
            })
            .collect();
        writer.value("outputs", &outputs);
    }
    writer.tensors("inputs", &request.inputs, |_| binary)?;
    Ok(writer.close())
}

fn split(body: &Bytes, header_length: Option<usize>) -> Result<(Bytes, Bytes), DecodeError> {
    let length = header_length.unwrap_or(body.len());
    if length > body.len() {
        return Err(DecodeError::HeaderTooLong { stated: length, body: body.len() });
    }
    Ok((body.slice(..length), body.slice(length..)))
}

fn tensors(headers: Vec<TensorHeader<'_>>, binary: &mut Bytes) -> Result<Vec<Tensor>, DecodeError> {
    let tensors: Vec<Tensor> =
        headers.into_iter().map(|header| tensor(header, binary)).collect::<Result<_, _>>()?;
    match binary.len() {
        0 => Ok(tensors),
        left => Err(DecodeError::Trailing(left)),
    }
}

fn tensor(header: TensorHeader<'_>, binary: &mut Bytes) -> Result<Tensor, DecodeError> {
    let TensorHeader { name, datatype, shape, parameters, data } = header;
    if shape.len() > MAX_RANK {
        return Err(DecodeError::TooManyDimensions { name, rank: shape.len() });
    }
    let place = || format!("tensor '{name}'");
    refuse_shared_memory(&parameters, place)?;
    let data = match (parameters.get("binary_data_size"), data) {
        (Some(_), Some(_)) => return Err(DecodeError::TwiceData { name }),
        (None, None) => return Err(DecodeError::NoData { name }),
        (Some(size), None) => {
            let Some(size) = size.as_u64() else {
                return Err(DecodeError::BadParameter {
                    place: place(),
                    parameter: "binary_data_size",
                    expected: "a number of bytes",
                });
            };
            match usize::try_from(size) {
                Ok(taken) if taken <= binary.len() => binary.split_to(taken),
                _ => return Err(DecodeError::Truncated { name, size, left: binary.len() }),
            }
        }
        (None, Some(json)) => match json_data::parse(datatype, json) {
            Ok(data) => data.into(),
            Err(source) => return Err(DecodeError::BadValue { name, source }),
        },
    };
    Ok(Tensor::new(name, datatype, shape, data)?)
}

fn refuse_shared_memory(
    parameters: &Parameters,
    place: impl FnOnce() -> String,
) -> Result<(), DecodeError> {
    match parameters.contains_key("shared_memory_region") {
        true => Err(DecodeError::Unsupported { place: place(), feature: "shared memory" }),
        false => Ok(()),
    }
}

fn flag(
    parameters: &Parameters,
    parameter: &'static str,
    place: impl FnOnce() -> String,
) -> Result<bool, DecodeError> {
    match parameters.get(parameter) {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| DecodeError::BadParameter {
            place: place(),
            parameter,
            expected: "true or false",
        }),
    }
}

/// Writes one JSON object field by field, and the raw tensor bytes that follow it.
struct Writer {
    json: Vec<u8>,
    raw: Vec<Bytes>,
}

impl Writer {
    fn open() -> Self {
        Self { json: vec![b'{'], raw: Vec::new() }
    }

    fn value(&mut self, key: &str, value: &(impl serde::Serialize + ?Sized)) {
        if !matches!(self.json.last(), Some(b'{' | b'[')) {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, key).expect("a Vec takes every write");
        self.json.push(b':');
        serde_json::to_writer(&mut self.json, value).expect("plain values have a JSON form");
    }

    fn text(&mut self, key: &str, text: &str) {
        self.value(key, text);
    }

    fn parameters(&mut self, parameters: &Parameters) {
        if !parameters.is_empty() {
            self.value("parameters", parameters);
        }
    }

    fn tensors(
        &mut self,
        key: &str,
        tensors: &[Tensor],
        binary: impl Fn(&str) -> bool,
    ) -> Result<(), EncodeError> {
        if !matches!(self.json.last(), Some(b'{')) {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, key).expect("a Vec takes every write");
        self.json.extend_from_slice(b":[");
        for (index, tensor) in tensors.iter().enumerate() {
            if index > 0 {
                self.json.push(b',');
            }
            self.json.push(b'{');
            self.text("name", tensor.name());
            self.value("datatype", &tensor.datatype());
            self.value("shape", tensor.shape());
            if binary(tensor.name()) {
                let size = tensor.data().len();
                self.value("parameters", &serde_json::json!({ "binary_data_size": size }));
                self.raw.push(tensor.data().clone());
            } else {
                self.json.extend_from_slice(b",\"data\":");
                json_data::write(tensor, &mut self.json).map_err(|why| EncodeError::NotJson {
                    name: tensor.name().to_owned(),
                    why: why.to_string(),
                })?;
            }
            self.json.push(b'}');
        }
        self.json.push(b']');
        Ok(())
    }

    fn close(mut self) -> Body {
        self.json.push(b'}');
        if self.raw.is_empty() {
            return Body { bytes: self.json.into(), header_length: None };
        }
        let length = self.json.len();
        self.json.reserve_exact(self.raw.iter().map(Bytes::len).sum());
        for data in &self.raw {
            self.json.extend_from_slice(data);
        }
        Body { bytes: self.json.into(), header_length: Some(length) }
    }
}

#[cfg(test)]
mod tests;
