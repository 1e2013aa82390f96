//! Tensors, data types and shapes.
//!
//! A [`Tensor`] holds its values the way the protocol sends them in binary: row-major,
//! little-endian, `BYTES` elements each behind a 4-byte length. So a binary request reaches the
//! model without conversion, rows are joined into a batch and split again by copying bytes, and a
//! tensor that exists is known to be well formed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A tensor element type of the Open Inference Protocol v2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
#[allow(missing_docs)] // the names are the protocol's
pub enum DataType {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl DataType {
    /// Every type.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// Bytes per element; `None` for `BYTES`, whose elements vary.
    #[must_use]
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// The protocol's name: `FP32`, `INT64`, `BYTES` …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes are not a tensor of the stated type and shape.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The shape's element count does not fit in memory.
    #[error("tensor '{name}': shape {shape:?} has more elements than can be addressed")]
    ShapeTooLarge {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Too many or too few bytes.
    #[error(
        "tensor '{name}': {datatype} of shape {shape:?} takes {expected} bytes, but {got} came"
    )]
    WrongLength {
        /// The tensor.
        name: String,
        /// Its type.
        datatype: DataType,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes that type and shape ask for.
        expected: usize,
        /// Bytes there are.
        got: usize,
    },
    /// A `BYTES` tensor whose length prefixes do not add up.
    #[error(
        "tensor '{name}': the length prefixes of its BYTES elements give {got} whole elements, \
         but shape {shape:?} has {expected}"
    )]
    BadBytes {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Elements the shape asks for.
        expected: usize,
        /// Whole elements found before the data ended or ran over.
        got: usize,
    },
}

/// A named, typed, shaped block of values.
///
/// ```
/// use tensorforge::models::{DataType, Tensor};
///
/// let pixels = Tensor::from_f32("image", vec![1, 2], &[0.5, 1.0]);
/// assert_eq!(pixels.datatype(), DataType::Fp32);
/// assert_eq!(pixels.data().len(), 8);
/// // Bytes that do not fit the shape never become a tensor.
/// assert!(Tensor::new("image", DataType::Fp32, vec![1, 3], pixels.data().clone()).is_err());
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    name: String,
    datatype: DataType,
    shape: Vec<usize>,
    data: Bytes,
}

impl Tensor {
    /// A tensor over `data`, which must fit type and shape exactly.
    ///
    /// # Errors
    /// [`TensorError`] names the tensor and both lengths.
    pub fn new(
        name: impl Into<String>,
        datatype: DataType,
        shape: Vec<usize>,
        data: Bytes,
    ) -> Result<Self, TensorError> {
        let name = name.into();
        let Some(expected) = element_count(&shape) else {
            return Err(TensorError::ShapeTooLarge { name, shape });
        };
        match datatype.size() {
            Some(size) => {
                let got = data.len();
                match expected.checked_mul(size) {
                    Some(expected) if expected == got => {}
                    Some(expected) => {
                        return Err(TensorError::WrongLength {
                            name,
                            datatype,
                            shape,
                            expected,
                            got,
                        });
                    }
                    None => return Err(TensorError::ShapeTooLarge { name, shape }),
                }
            }
            None => {
                let mut elements = BytesElements::new(&data);
                let got = elements.by_ref().take(expected.saturating_add(1)).count();
                if got != expected || !elements.rest().is_empty() {
                    return Err(TensorError::BadBytes { name, shape, expected, got });
                }
            }
        }
        Ok(Self { name, datatype, shape, data })
    }

    /// An `FP32` tensor.
    ///
    /// # Panics
    /// When `values` are not as many as `shape` has elements: a programming error.
    #[must_use]
    pub fn from_f32(name: impl Into<String>, shape: Vec<usize>, values: &[f32]) -> Self {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        Self::new(name, DataType::Fp32, shape, data.into()).expect("as many values as elements")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its element type.
    #[must_use]
    pub const fn datatype(&self) -> DataType {
        self.datatype
    }

    /// Its dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        // It was countable when the tensor was made.
        element_count(&self.shape).unwrap_or(0)
    }

    /// Its values in the protocol's binary layout.
    #[must_use]
    pub const fn data(&self) -> &Bytes {
        &self.data
    }

    /// The elements of a `BYTES` tensor.
    #[must_use]
    pub fn bytes_elements(&self) -> BytesElements<'_> {
        BytesElements::new(&self.data)
    }

    /// The values of an `FP32` tensor, or `None` for any other type.
    #[must_use]
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        if self.datatype != DataType::Fp32 {
            return None;
        }
        let (values, _) = self.data.as_chunks::<4>();
        Some(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }

    /// The values of an `INT64` tensor, or `None` for any other type.
    #[must_use]
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        if self.datatype != DataType::Int64 {
            return None;
        }
        let (values, _) = self.data.as_chunks::<8>();
        Some(values.iter().map(|value| i64::from_le_bytes(*value)).collect())
    }
}

/// Elements of a shape, `None` when they overflow. A shape without dimensions is a scalar.
#[must_use]
pub fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the tensor empty, however large the other dimensions claim to be.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

/// The elements of `BYTES` data, read from their length prefixes until data or sense ends.
#[derive(Clone, Debug)]
pub struct BytesElements<'a> {
    rest: &'a [u8],
}

impl<'a> BytesElements<'a> {
    /// Reads elements from `data`.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// What has not been read as whole elements.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for BytesElements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (prefix, rest) = self.rest.split_first_chunk::<4>()?;
        let (element, rest) = rest.split_at_checked(u32::from_le_bytes(*prefix) as usize)?;
        self.rest = rest;
        Some(element)
    }
}

/// Appends one element to `BYTES` data. Elements of 4 GiB and more do not exist in the protocol.
pub fn push_bytes_element(data: &mut Vec<u8>, element: &[u8]) {
    let length = u32::try_from(element.len()).expect("a BYTES element is shorter than 4 GiB");
    data.extend_from_slice(&length.to_le_bytes());
    data.extend_from_slice(element);
}

/// What a model says of one of its tensors. A dimension of -1 may have any size.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TensorSpec {
    /// The tensor's name.
    pub name: String,
    /// Its element type.
    pub datatype: DataType,
    /// Its dimensions, the batch dimension included.
    pub shape: Vec<i64>,
}

impl TensorSpec {
    /// Whether a tensor of this shape may be passed here.
    #[must_use]
    pub fn accepts_shape(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(&want, &got)| {
                want < 0 || usize::try_from(want).is_ok_and(|want| want == got)
            })
    }

    /// A tensor of zeros for it, as long as they may be (empty strings for `BYTES`): with so many `rows` in
    /// its first dimension if the model batches, and `open` wherever else it leaves the size open.
    ///
    /// ```
    /// use tensorforge::models::{DataType, TensorSpec};
    ///
    /// let spec = TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 3, -1] };
    /// assert_eq!(spec.zeros(Some(2), Some(1))?.shape(), [2, 3, 1]);
    /// assert!(spec.zeros(Some(2), None).is_err(), "how long is the last one?");
    /// # Ok::<(), tensorforge::models::ZerosError>(())
    /// ```
    ///
    /// # Errors
    /// [`ZerosError`] where a size is open and stays so, or the tensor could not be held.
    pub fn zeros(&self, rows: Option<usize>, open: Option<usize>) -> Result<Tensor, ZerosError> {
        let mut shape = Vec::with_capacity(self.shape.len());
        for (place, &size) in self.shape.iter().enumerate() {
            let rows = rows.filter(|_| place == 0);
            let size = rows.or(usize::try_from(size).ok()).or(open);
            shape.push(size.ok_or_else(|| {
                let (name, shape) = (self.name.clone(), self.shape.clone());
                ZerosError::Open { name, shape }
            })?);
        }
        let too_large = || ZerosError::TooLarge { name: self.name.clone() };
        // An empty BYTES element is its four-byte length.
        let size = if self.datatype == DataType::Bytes { Some(4) } else { self.datatype.size() };
        let bytes = element_count(&shape)
            .and_then(|elements| elements.checked_mul(size.unwrap_or(4)))
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .ok_or_else(too_large)?;
        Tensor::new(self.name.clone(), self.datatype, shape, vec![0; bytes].into())
            .map_err(|_| too_large())
    }
}

/// Why there are no zeros for an input.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZerosError {
    /// It has no one size.
    #[error("input '{name}' has shape {shape:?}, of which a part is open")]
    Open {
        /// The input.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
    },
    /// No memory could hold them.
    #[error("input '{name}' is too large to be made")]
    TooLarge {
        /// The input.
        name: String,
    },
}

/// What a model takes and gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelIo {
    /// Its inputs, in the model's order.
    pub inputs: Vec<TensorSpec>,
    /// Its outputs, in the model's order.
    pub outputs: Vec<TensorSpec>,
    /// Whether the first dimension of every input and output is a free batch dimension, so that
    /// rows of several requests can run in one call.
    pub batches: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(datatype: DataType, shape: &[usize], data: &[u8]) -> Result<Tensor, TensorError> {
        Tensor::new("t", datatype, shape.to_vec(), Bytes::copy_from_slice(data))
    }

    #[test]
    fn data_must_fit_type_and_shape_exactly() {
        assert!(tensor(DataType::Int16, &[2, 1], &[1, 0, 2, 0]).is_ok());
        assert!(tensor(DataType::Fp32, &[], &[0; 4]).is_ok(), "a scalar has one element");
        assert!(tensor(DataType::Fp32, &[0, 9], &[]).is_ok(), "an empty tensor has none");
        let error = tensor(DataType::Int16, &[2, 1], &[1, 0, 2]).unwrap_err();
        let text = "tensor 't': INT16 of shape [2, 1] takes 4 bytes, but 3 came";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_shape_that_overflows_is_refused() {
        for shape in [&[usize::MAX, 2][..], &[usize::MAX / 2]] {
            let error = tensor(DataType::Fp64, shape, &[]).unwrap_err();
            assert!(matches!(error, TensorError::ShapeTooLarge { .. }), "{error}");
        }
    }

    #[test]
    fn bytes_elements_must_add_up_to_the_shape() {
        let mut data = Vec::new();
        push_bytes_element(&mut data, b"ab");
        push_bytes_element(&mut data, b"");
        let two = tensor(DataType::Bytes, &[2], &data).unwrap();
        assert!(two.bytes_elements().eq([&b"ab"[..], b""]));
        for (shape, data) in [(3, &data[..]), (1, &data[..]), (2, &data[..9]), (1, &[255; 4][..])] {
            let error = tensor(DataType::Bytes, &[shape], data).unwrap_err();
            assert!(matches!(error, TensorError::BadBytes { .. }), "{error}");
        }
    }

    #[test]
    fn a_free_dimension_takes_any_size() {
        let spec = TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 64] };
        assert!(spec.accepts_shape(&[7, 64]));
        assert!(!spec.accepts_shape(&[7, 65]));
        assert!(!spec.accepts_shape(&[64]));
    }
}
