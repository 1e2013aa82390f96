use super::*;
use crate::models::push_bytes_element;
use proptest::prelude::*;

fn json(text: &str) -> Result<InferRequest, DecodeError> {
    decode_request(&Bytes::copy_from_slice(text.as_bytes()), None)
}

fn one_input(datatype: &str, shape: &str, data: &str) -> Result<InferRequest, DecodeError> {
    json(&format!(
        r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}"#
    ))
}

/// Any tensor whose values JSON can hold.
fn any_tensor() -> impl Strategy<Value = Tensor> {
    let sizes = prop::collection::vec(0..4usize, 0..4);
    (prop::sample::select(&DataType::ALL[..]), sizes, any::<u64>()).prop_map(
        |(datatype, shape, seed)| {
            let count: usize = shape.iter().product();
            let mut state = seed | 1;
            let mut bits = || {
                state =
                    state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                state.rotate_left(29)
            };
            let mut data = Vec::new();
            for _ in 0..count {
                match datatype {
                    DataType::Bool => data.push((bits() & 1) as u8),
                    DataType::Bytes => {
                        push_bytes_element(&mut data, format!("{}é\n", bits()).as_bytes())
                    }
                    DataType::Fp16 => {
                        let value = half::f16::from_f64((bits() % 4096) as f64 / 8.0);
                        data.extend_from_slice(&value.to_le_bytes());
                    }
                    DataType::Bf16 => {
                        let value = half::bf16::from_f64((bits() % 256) as f64 - 128.0);
                        data.extend_from_slice(&value.to_le_bytes());
                    }
                    DataType::Fp32 => {
                        let value = f32::from_bits(bits() as u32);
                        let value = if value.is_finite() { value } else { 0.1 };
                        data.extend_from_slice(&value.to_le_bytes());
                    }
                    DataType::Fp64 => {
                        let value = f64::from_bits(bits());
                        let value = if value.is_finite() { value } else { -0.1 };
                        data.extend_from_slice(&value.to_le_bytes());
                    }
                    other => {
                        let size = other.size().expect("a fixed-size type");
                        data.extend_from_slice(&bits().to_le_bytes()[..size]);
                    }
                }
            }
            Tensor::new("t", datatype, shape, data.into()).expect("well formed")
        },
    )
}

proptest! {
    #[test]
    fn a_request_survives_the_wire_in_json_and_in_binary(
        tensors in prop::collection::vec(any_tensor(), 0..4),
        binary: bool,
        binary_outputs: bool,
        id in ".{0,8}",
    ) {
        let request = InferRequest { id, inputs: tensors, binary_outputs, ..Default::default() };
        let body = encode_request(&request, binary).expect("finite values");
        let mut back = decode_request(&body.bytes, body.header_length).expect("own encoding");
        back.parameters.remove("binary_data_output");
        prop_assert_eq!(back, request);
    }

    #[test]
    fn a_response_survives_the_wire_with_both_forms_mixed(
        first in any_tensor(),
        second in any_tensor(),
        forms: (bool, bool),
    ) {
        let named = |tensor: Tensor, name: &str| {
            let (datatype, shape) = (tensor.datatype(), tensor.shape().to_vec());
            Tensor::new(name, datatype, shape, tensor.data().clone()).expect("as before")
        };
        let response = InferResponse {
            model_name: "m".into(),
            model_version: "3".into(),
            id: "a \"quoted\" id".into(),
            parameters: Parameters::new(),
            outputs: vec![named(first, "first"), named(second, "second")],
        };
        let binary = |name: &str| if name == "first" { forms.0 } else { forms.1 };
        let body = encode_response(&response, binary).expect("finite values");
        let back = decode_response(&body.bytes, body.header_length).expect("own encoding");
        prop_assert_eq!(back, response);
    }

    #[test]
    fn no_body_makes_the_decoder_panic(
        body in prop::collection::vec(any::<u8>(), 0..200),
        header_length in prop::option::of(0..300usize),
    ) {
        let _ = decode_request(&body.into(), header_length);
    }

    #[test]
    fn no_cut_or_lying_header_makes_the_decoder_panic(
        tensors in prop::collection::vec(any_tensor(), 1..3),
        cut in 0.0..1.0f64,
        lie in -20..20isize,
    ) {
        let request = InferRequest { inputs: tensors, ..Default::default() };
        let body = encode_request(&request, true).expect("binary holds everything");
        let keep = (body.bytes.len() as f64 * cut) as usize;
        prop_assert!(decode_request(&body.bytes.slice(..keep), body.header_length).is_err());
        let stated = body.header_length.expect("binary").saturating_add_signed(lie);
        let decoded = decode_request(&body.bytes, Some(stated));
        prop_assert!(lie == 0 || decoded.is_err());
    }
}

#[test]
fn nested_and_flat_arrays_hold_the_same_values() {
    let flat = one_input("INT32", "[2,2]", "[1,2,3,-4]").unwrap();
    let nested = one_input("INT32", "[2,2]", "[[1,2],[3,-4]]").unwrap();
    assert_eq!(flat, nested);
    let expected: Vec<u8> = [1i32, 2, 3, -4].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(flat.inputs[0].data(), &expected[..]);
}

#[test]
fn each_value_must_fit_its_type() {
    for (datatype, data, complaint) in [
        ("UINT8", "[256]", "256 does not fit UINT8"),
        ("UINT64", "[-1]", "-1 does not fit UINT64"),
        ("INT64", "[1.0]", "the number 1.0 is not a INT64 value"),
        ("INT8", "[1.5]", "the number 1.5 is not a INT8 value"),
        ("FP32", "[1e39]", "does not fit FP32"),
        ("FP16", "[65536]", "65536 does not fit FP16"),
        ("BOOL", "[1]", "the number 1 is not a BOOL value"),
        ("FP32", "[true]", "true is not a FP32 value"),
        ("FP32", "[\"1\"]", "the string \"1\" is not a FP32 value"),
        ("BYTES", "[1]", "the number 1 is not a BYTES value"),
        ("FP32", "[null]", "invalid type: null"),
    ] {
        let error = one_input(datatype, "[1]", data).unwrap_err().to_string();
        assert!(error.contains("tensor 'x'") && error.contains(complaint), "{error}");
    }
}

#[test]
fn messages_name_what_is_wrong_and_where() {
    for (body, complaint) in [
        ("{", "line 1 column 1"),
        ("{}", "missing field `inputs`"),
        (r#"{"inputs":[{"name":"x","shape":[1],"data":[1]}]}"#, "missing field `datatype`"),
        (
            r#"{"inputs":[{"name":"x","datatype":"FP31","shape":[1],"data":[1]}]}"#,
            "unknown variant `FP31`",
        ),
        (r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[-1],"data":[1]}]}"#, "-1"),
        (r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1]}]}"#, "'x' has no data"),
        (
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1],
                "parameters":{"binary_data_size":4}}]}"#,
            "both 'data' and 'binary_data_size'",
        ),
        (
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],
                "parameters":{"binary_data_size":"4"}}]}"#,
            "'binary_data_size' must be a number of bytes",
        ),
        (
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],
                "parameters":{"shared_memory_region":"r"}}]}"#,
            "shared memory is not supported",
        ),
        (r#"{"inputs":[],"parameters":{"a":[1]}}"#, "expected a parameter: a string, a number"),
        (r#"{"inputs":[],"parameters":[1]}"#, "expected an object of at most 64 parameters"),
        (
            r#"{"inputs":[{"name":"x","datatype":"FP32","data":[1],
                "shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}]}"#,
            "'x' has 33 dimensions; at most 32 are taken",
        ),
        (
            r#"{"inputs":[],"outputs":[{"name":"y","parameters":{"classification":3}}]}"#,
            "output 'y': classification is not supported",
        ),
    ] {
        let error = json(body).unwrap_err().to_string();
        assert!(error.contains(complaint), "{body}: {error}");
    }
}

#[test]
fn an_output_without_a_word_of_its_own_takes_the_requests_form() {
    let request = json(
        r#"{"inputs":[],"parameters":{"binary_data_output":true},
            "outputs":[{"name":"a"},{"name":"b","parameters":{"binary_data":false}}]}"#,
    )
    .unwrap();
    let forms: Vec<_> = request.outputs.iter().map(|o| (o.name.as_str(), o.binary)).collect();
    assert_eq!(forms, [("a", true), ("b", false)]);
}

#[test]
fn values_without_a_json_form_are_refused_by_name() {
    let outputs = vec![Tensor::from_f32("score", vec![1], &[f32::NAN])];
    let response = InferResponse {
        model_name: "m".into(),
        model_version: "1".into(),
        id: String::new(),
        parameters: Parameters::new(),
        outputs,
    };
    let error = encode_response(&response, |_| false).unwrap_err().to_string();
    assert!(error.contains("tensor 'score' holds NaN or infinity"), "{error}");
    assert!(encode_response(&response, |_| true).is_ok());
}

#[test]
fn parameters_are_few_and_plain_and_may_be_null() {
    let request =
        json(r#"{"inputs":[],"parameters":{"a":true,"b":-1,"c":1.5,"d":"text","e":null,"f":7}}"#)
            .unwrap();
    assert_eq!(request.parameters.len(), 6);
    assert_eq!(request.parameters["d"], "text");
    assert!(json(r#"{"inputs":[],"parameters":null}"#).unwrap().parameters.is_empty());
    let many: Vec<String> = (0..65).map(|name| format!("\"{name}\":0")).collect();
    let error = json(&format!(r#"{{"inputs":[],"parameters":{{{}}}}}"#, many.join(",")));
    assert!(error.unwrap_err().to_string().contains("more than 64 parameters"));
}

#[test]
fn a_message_with_as_many_parameters_as_it_may_have_passes_through_gateways() {
    let own = (0..64).map(|number| format!("\"own_{number}\":0"));
    let decode = |of_gateways: usize| {
        let added = (0..of_gateways).map(|number| format!("\"route_{number}\":0"));
        let all: Vec<String> = own.clone().chain(added).collect();
        let json = format!(r#"{{"inputs":[],"parameters":{{{}}}}}"#, all.join(","));
        decode_request(&json.into(), None)
    };
    assert_eq!(decode(32).unwrap().parameters.len(), 96);
    assert!(decode(33).unwrap_err().to_string().contains("more than 32 parameters"));
}
