//! Tensor values as JSON: flat or nested arrays in, flat arrays out.

use crate::models::{DataType, Tensor, push_bytes_element};
use half::{bf16, f16};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Reads JSON values into the protocol's binary layout. Arrays may be nested in any way; only
/// their values in order count, as the protocol says.
pub(super) fn parse(datatype: DataType, json: &RawValue) -> Result<Vec<u8>, serde_json::Error> {
    // Typical text takes about as many bytes as its values; long text grows into what it needs.
    let mut data = Vec::with_capacity(json.get().len().min(64 << 10));
    Values { datatype, data: &mut data }
        .deserialize(&mut serde_json::Deserializer::from_str(json.get()))?;
    Ok(data)
}

struct Values<'a> {
    datatype: DataType,
    data: &'a mut Vec<u8>,
}

impl Values<'_> {
    fn push_integer<T, E: Error>(&mut self, value: T) -> Result<(), E>
    where
        T: Copy
            + fmt::Display
            + TryInto<u8>
            + TryInto<u16>
            + TryInto<u32>
            + TryInto<u64>
            + TryInto<i8>
            + TryInto<i16>
            + TryInto<i32>
            + TryInto<i64>,
    {
        macro_rules! push {
            ($type:ty) => {
                match TryInto::<$type>::try_into(value) {
                    Ok(value) => self.data.extend_from_slice(&value.to_le_bytes()),
                    Err(_) => {
                        let datatype = self.datatype;
                        return Err(E::custom(format_args!("{value} does not fit {datatype}")));
                    }
                }
            };
        }
        match self.datatype {
            DataType::Uint8 => push!(u8),
            DataType::Uint16 => push!(u16),
            DataType::Uint32 => push!(u32),
            DataType::Uint64 => push!(u64),
            DataType::Int8 => push!(i8),
            DataType::Int16 => push!(i16),
            DataType::Int32 => push!(i32),
            DataType::Int64 => push!(i64),
            _ => return Err(self.wrong_type(format_args!("the number {value}"))),
        }
        Ok(())
    }

    fn push_float<E: Error>(&mut self, value: f64) -> Result<(), E> {
        let largest = match self.datatype {
            DataType::Fp16 => f16::MAX.to_f64(),
            DataType::Bf16 => bf16::MAX.to_f64(),
            DataType::Fp32 => f64::from(f32::MAX),
            _ => f64::MAX,
        };
        if value.abs() > largest {
            return Err(E::custom(format_args!("{value} does not fit {}", self.datatype)));
        }
        match self.datatype {
            DataType::Fp16 => self.data.extend_from_slice(&f16::from_f64(value).to_le_bytes()),
            DataType::Bf16 => self.data.extend_from_slice(&bf16::from_f64(value).to_le_bytes()),
            DataType::Fp32 => self.data.extend_from_slice(&(value as f32).to_le_bytes()),
            DataType::Fp64 => self.data.extend_from_slice(&value.to_le_bytes()),
            _ => return Err(self.wrong_type(format_args!("the number {value:?}"))),
        }
        Ok(())
    }

    fn is_float(&self) -> bool {
        matches!(self.datatype, DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64)
    }

    fn wrong_type<E: Error>(&self, got: impl fmt::Display) -> E {
        E::custom(format_args!("{got} is not a {} value", self.datatype))
    }
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values in an array", self.datatype)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let Self { datatype, data } = self;
        while array.next_element_seed(Values { datatype, data: &mut *data })?.is_some() {}
        Ok(())
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<(), E> {
        if self.is_float() { self.push_float(value as f64) } else { self.push_integer(value) }
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<(), E> {
        if self.is_float() { self.push_float(value as f64) } else { self.push_integer(value) }
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.push_float(value)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if self.datatype != DataType::Bool {
            return Err(self.wrong_type(value));
        }
        self.data.push(u8::from(value));
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        if self.datatype != DataType::Bytes {
            return Err(self.wrong_type(format_args!("the string {value:?}")));
        }
        push_bytes_element(self.data, value.as_bytes());
        Ok(())
    }
}

/// Why a tensor cannot be written as JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Unwritable {
    #[error("holds NaN or infinity")]
    NotFinite,
    #[error("holds bytes that are not UTF-8")]
    NotUtf8,
}

/// Appends the tensor's values as one flat JSON array.
pub(super) fn write(tensor: &Tensor, json: &mut Vec<u8>) -> Result<(), Unwritable> {
    macro_rules! values {
        ($type:ty, $size:literal) => {
            tensor.data().as_chunks::<$size>().0.iter().map(|value| <$type>::from_le_bytes(*value))
        };
    }
    match tensor.datatype() {
        DataType::Bool => array(json, tensor.data().iter().map(|&value| value != 0), |_| true),
        DataType::Uint8 => array(json, tensor.data().iter(), |_| true),
        DataType::Uint16 => array(json, values!(u16, 2), |_| true),
        DataType::Uint32 => array(json, values!(u32, 4), |_| true),
        DataType::Uint64 => array(json, values!(u64, 8), |_| true),
        DataType::Int8 => array(json, values!(i8, 1), |_| true),
        DataType::Int16 => array(json, values!(i16, 2), |_| true),
        DataType::Int32 => array(json, values!(i32, 4), |_| true),
        DataType::Int64 => array(json, values!(i64, 8), |_| true),
        DataType::Fp16 => array(json, values!(f16, 2).map(f32::from), |value| value.is_finite()),
        DataType::Bf16 => array(json, values!(bf16, 2).map(f32::from), |value| value.is_finite()),
        DataType::Fp32 => array(json, values!(f32, 4), |value| value.is_finite()),
        DataType::Fp64 => array(json, values!(f64, 8), |value| value.is_finite()),
        DataType::Bytes => {
            let texts: Result<Vec<&str>, _> =
                tensor.bytes_elements().map(std::str::from_utf8).collect();
            array(json, texts.map_err(|_| Unwritable::NotUtf8)?.iter(), |_| true)
        }
    }
}

fn array<T: serde::Serialize>(
    json: &mut Vec<u8>,
    values: impl Iterator<Item = T>,
    finite: impl Fn(&T) -> bool,
) -> Result<(), Unwritable> {
    json.push(b'[');
    for (index, value) in values.enumerate() {
        if !finite(&value) {
            return Err(Unwritable::NotFinite);
        }
        if index > 0 {
            json.push(b',');
        }
        serde_json::to_writer(&mut *json, &value).expect("a Vec takes every write");
    }
    json.push(b']');
    Ok(())
}
