//! `tensorforge infer`: one request, its answer readable.

use super::output::table;
use super::remote::{self, ServerArgs, read_request};
use super::{CliError, Output};
use crate::client::infer_path;
use crate::clock::Clock;
use crate::contracts::{InferResponse, RequestedOutput, rest};
use crate::models::{DataType, Tensor};
use hyper::Method;
use std::path::PathBuf;

/// Send one ready-made request to a running server and print the answer
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge infer digits models/digits/requests/seven.json
  tensorforge infer digits models/digits/requests/seven.json --output label
  tensorforge --json infer digits - < request.json")]
pub(super) struct Args {
    /// The model
    model: String,

    /// A JSON infer request of the Open Inference Protocol v2; - reads standard input
    file: PathBuf,

    #[command(flatten)]
    server: ServerArgs,

    /// The model's version [default: the newest]
    #[arg(long, value_name = "V")]
    model_version: Option<String>,

    /// Ask for this output only; may be given several times
    #[arg(long, value_name = "NAME")]
    output: Vec<String>,

    /// Send and receive tensors as raw bytes instead of JSON
    #[arg(long)]
    binary: bool,
}

/// Sends the request and prints the answer.
///
/// # Errors
/// [`CliError`] when the file is no request, or the server refuses or does not answer.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), CliError> {
    let mut request = read_request(&args.file)?;
    if !args.output.is_empty() {
        let output = |name: &String| RequestedOutput { name: name.clone(), binary: false };
        request.outputs = args.output.iter().map(output).collect();
    }
    request.binary_outputs = args.binary;
    request.outputs.iter_mut().for_each(|output| output.binary = args.binary);
    remote::block_on(async {
        let mut client = args.server.client();
        let body = rest::encode_request(&request, args.binary)
            .map_err(|error| CliError::unusable(error.to_string()))?;
        let path = infer_path(&args.model, args.model_version.as_deref());
        let clock = Clock::start();
        let answer = client.send(Method::POST, &path, Some(&body)).await?;
        let took = clock.now().as_nanos() as f64 / 1e6;
        let response = client.decode(&answer)?;
        match output.is_json() {
            true => {
                let body = rest::encode_response(&response, |_| false)
                    .map_err(|error| CliError::failed(error.to_string()))?;
                output.text(&String::from_utf8_lossy(&body.bytes));
            }
            false => print(output, &response, took),
        }
        Ok(())
    })
}

fn print(output: &Output, response: &InferResponse, took: f64) {
    let InferResponse { model_name, model_version, id, outputs, .. } = response;
    let id = if id.is_empty() { String::new() } else { format!(" to '{id}'") };
    output.text(&format!("{model_name} version {model_version} answered{id} in {took:.2} ms\n"));
    let mut rows = vec![["OUTPUT", "TYPE", "SHAPE", "VALUES"].map(str::to_owned)];
    for tensor in outputs {
        let (name, datatype) = (tensor.name().to_owned(), tensor.datatype().to_string());
        rows.push([name, datatype, format!("{:?}", tensor.shape()), values(tensor)]);
    }
    output.text(&table(&rows));
}

/// The first values of a tensor, short enough to read.
fn values(tensor: &Tensor) -> String {
    const SHOWN: usize = 12;
    macro_rules! first {
        ($type:ty, $size:literal) => {
            first!($type, $size, |value| value.to_string())
        };
        ($type:ty, $size:literal, $show:expr) => {{
            let (values, _) = tensor.data().as_chunks::<$size>();
            let values = values.iter().take(SHOWN).map(|value| <$type>::from_le_bytes(*value));
            values.map($show).collect::<Vec<String>>()
        }};
    }
    let bytes = || tensor.data().iter().take(SHOWN);
    let shown = match tensor.datatype() {
        DataType::Bool => bytes().map(|&value| (value != 0).to_string()).collect(),
        DataType::Uint8 => bytes().map(u8::to_string).collect(),
        DataType::Uint16 => first!(u16, 2),
        DataType::Uint32 => first!(u32, 4),
        DataType::Uint64 => first!(u64, 8),
        DataType::Int8 => first!(i8, 1),
        DataType::Int16 => first!(i16, 2),
        DataType::Int32 => first!(i32, 4),
        DataType::Int64 => first!(i64, 8),
        DataType::Fp16 => first!(half::f16, 2, |value| float(value.into())),
        DataType::Bf16 => first!(half::bf16, 2, |value| float(value.into())),
        DataType::Fp32 => first!(f32, 4, |value| float(value.into())),
        DataType::Fp64 => first!(f64, 8, float),
        DataType::Bytes => {
            let texts = tensor.bytes_elements().take(SHOWN);
            texts.map(|text| format!("{:?}", String::from_utf8_lossy(text))).collect()
        }
    };
    match tensor.elements().checked_sub(shown.len()) {
        Some(0) | None => shown.join(" "),
        Some(more) => format!("{} ... {more} more", shown.join(" ")),
    }
}

/// Four decimals where they tell something, else four significant digits.
fn float(value: f64) -> String {
    match value.abs() {
        0.0 | 1e-3..1e6 => format!("{value:.4}"),
        size if size.is_finite() => format!("{value:.3e}"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_tensors_are_cut_and_say_so() {
        let many: Vec<f32> = (0..20).map(|value| value as f32 / 3.0).collect();
        let text = values(&Tensor::from_f32("x", vec![20], &many));
        assert!(text.starts_with("0.0000 0.3333 0.6667"), "{text}");
        assert!(text.ends_with("3.6667 ... 8 more"), "{text}");
        assert_eq!(values(&Tensor::from_f32("x", vec![0], &[])), "");
    }

    #[test]
    fn small_and_large_numbers_keep_their_digits() {
        let values = [0.0, 0.25, -1234.5, 1.5e-7, 2e30, f64::NAN, f64::NEG_INFINITY];
        let shown = ["0.0000", "0.2500", "-1234.5000", "1.500e-7", "2.000e30", "NaN", "-inf"];
        assert_eq!(values.map(float), shown);
    }

    #[test]
    fn text_is_quoted() {
        let mut data = Vec::new();
        crate::models::push_bytes_element(&mut data, b"a \"b\"\x1b[0m");
        let tensor = Tensor::new("x", DataType::Bytes, vec![1], data.into()).unwrap();
        assert_eq!(values(&tensor), r#""a \"b\"\u{1b}[0m""#, "no escape codes reach the terminal");
    }
}
