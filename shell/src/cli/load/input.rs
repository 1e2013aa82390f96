//! The requests to send: read from files, or made up from the model's inputs.

use super::super::CliError;
use super::super::remote::read_request;
use crate::client::{Client, model_path};
use crate::contracts::rest::{self, Body};
use crate::contracts::{InferRequest, ModelMetadata};
use crate::models::{DataType, Tensor, TensorSpec, element_count, push_bytes_element};
use std::path::PathBuf;

/// Encodes the requests once, so that sending them costs as little as possible.
pub(super) async fn bodies(
    client: &mut Client,
    model: &str,
    version: Option<&str>,
    files: &[PathBuf],
    binary: bool,
) -> Result<Vec<Body>, CliError> {
    let metadata: ModelMetadata = client.get(&model_path(model, version)).await?;
    let mut requests = Vec::new();
    for file in files {
        requests.push(read_request(file)?);
    }
    if requests.is_empty() {
        requests.push(made_up(&metadata)?);
    }
    let encode = |mut request: InferRequest| {
        request.binary_outputs = binary;
        request.outputs.iter_mut().for_each(|output| output.binary = binary);
        rest::encode_request(&request, binary)
            .map_err(|error| CliError::unusable(error.to_string()))
    };
    requests.into_iter().map(encode).collect()
}

/// One row of values that look random and are the same each time.
fn made_up(metadata: &ModelMetadata) -> Result<InferRequest, CliError> {
    let inputs = metadata.inputs.iter().map(|spec| {
        tensor(spec).ok_or_else(|| {
            let (name, shape) = (&spec.name, &spec.shape);
            CliError::unusable(format!("input '{name}' of shape {shape:?} is too large to make up"))
                .help("give a request with --file")
        })
    });
    Ok(InferRequest { inputs: inputs.collect::<Result<_, _>>()?, ..Default::default() })
}

fn tensor(spec: &TensorSpec) -> Option<Tensor> {
    const MOST: usize = 1 << 26;
    let shape: Vec<usize> =
        spec.shape.iter().map(|&size| usize::try_from(size).unwrap_or(1)).collect();
    let elements = element_count(&shape).filter(|&elements| elements <= MOST)?;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut unit = || {
        // xorshift64 (Marsaglia 2003): no more randomness is needed than to keep values apart.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut data = Vec::new();
    for _ in 0..elements {
        let value = unit();
        match spec.datatype {
            DataType::Bool => data.push(u8::from(value < 0.5)),
            DataType::Fp16 => data.extend(half::f16::from_f64(value).to_le_bytes()),
            DataType::Bf16 => data.extend(half::bf16::from_f64(value).to_le_bytes()),
            DataType::Fp32 => data.extend((value as f32).to_le_bytes()),
            DataType::Fp64 => data.extend(value.to_le_bytes()),
            DataType::Bytes => push_bytes_element(&mut data, format!("{value:.3}").as_bytes()),
            // 0 or 1: whole numbers are often indices, and those have to be in range.
            integer => {
                let size = integer.size().unwrap_or(1);
                data.extend(&u64::from(value < 0.5).to_le_bytes()[..size]);
            }
        }
    }
    Tensor::new(&spec.name, spec.datatype, shape, data.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_can_be_made_up_with_free_dimensions_of_one() {
        for datatype in DataType::ALL {
            let spec = TensorSpec { name: "x".into(), datatype, shape: vec![-1, 3] };
            let tensor = tensor(&spec).unwrap_or_else(|| panic!("{datatype}"));
            assert_eq!((tensor.shape(), tensor.datatype()), (&[1, 3][..], datatype));
        }
    }

    #[test]
    fn what_is_too_large_is_not_made_up() {
        let spec = TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![1 << 40] };
        assert_eq!(tensor(&spec), None);
    }
}
