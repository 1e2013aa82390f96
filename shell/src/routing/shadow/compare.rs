//! Two answers to the same request, number by number.

use crate::contracts::InferResponse;
use crate::models::{DataType, Tensor};
use half::{bf16, f16};

/// How far numbers may be apart and still agree: `|shadow − primary| ≤ absolute + relative × |primary|`,
/// as NumPy's `allclose` has it.
///
/// By default 1e-6 and 1e-3, and NaN agrees with NaN. Infinities agree with themselves only.
///
/// ```
/// use tensorforge::routing::Tolerance;
///
/// let tolerance = Tolerance::new(0.0, 0.01).unwrap();
/// assert_eq!(tolerance.relative(), 0.01);
/// assert!(Tolerance::new(-1.0, 0.0).is_none() && Tolerance::new(0.0, f64::NAN).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tolerance {
    absolute: f64,
    relative: f64,
    nan_agrees: bool,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { absolute: 1e-6, relative: 1e-3, nan_agrees: true }
    }
}

impl Tolerance {
    /// Nothing but the same number, and NaN for NaN.
    pub const EXACT: Self = Self { absolute: 0.0, relative: 0.0, nan_agrees: true };

    /// Both parts, each a finite number of 0 or more; else `None`.
    #[must_use]
    pub fn new(absolute: f64, relative: f64) -> Option<Self> {
        let is_possible = |part: f64| part.is_finite() && part >= 0.0;
        (is_possible(absolute) && is_possible(relative)).then_some(Self {
            absolute,
            relative,
            nan_agrees: true,
        })
    }

    /// The same, but NaN agrees with nothing, itself included.
    #[must_use]
    pub const fn without_nan(self) -> Self {
        Self { nan_agrees: false, ..self }
    }

    /// How far apart in all.
    #[must_use]
    pub const fn absolute(&self) -> f64 {
        self.absolute
    }

    /// How far apart as a part of the primary's number.
    #[must_use]
    pub const fn relative(&self) -> f64 {
        self.relative
    }
}

/// What two answers have in common. By [`compare_responses`].
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Comparison {
    /// Every output of the primary that the shadow has as well, in the primary's order.
    pub outputs: Vec<OutputComparison>,
    /// Outputs that only the primary has.
    pub missing: Vec<String>,
    /// Outputs that only the shadow has.
    pub unexpected: Vec<String>,
}

impl Comparison {
    /// Whether both have the same outputs of the same types and shapes, all values within the tolerance.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.missing.is_empty()
            && self.unexpected.is_empty()
            && self.outputs.iter().all(OutputComparison::agrees)
    }
}

/// One output of both.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct OutputComparison {
    /// Its name.
    pub name: String,
    /// What the comparison came to.
    pub difference: OutputDifference,
}

impl OutputComparison {
    /// Whether type and shape are the same and all values within the tolerance.
    #[must_use]
    pub fn agrees(&self) -> bool {
        matches!(&self.difference, OutputDifference::Values(values) if values.beyond == 0)
    }
}

/// How an output differs.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum OutputDifference {
    /// By type, so no values were compared.
    DataType {
        /// The primary's.
        primary: DataType,
        /// The shadow's.
        shadow: DataType,
    },
    /// By shape, so no values were compared.
    Shape {
        /// The primary's.
        primary: Vec<usize>,
        /// The shadow's.
        shadow: Vec<usize>,
    },
    /// By values, if at all.
    Values(ValueDifferences),
}

/// How the values of two tensors of the same type and shape differ.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct ValueDifferences {
    /// How many values each has.
    pub elements: u64,
    /// How many of them are further apart than the tolerance lets them; of `BOOL` and `BYTES`, how many are
    /// not the same.
    pub beyond: u64,
    /// How many of those are no distance apart that could be told: NaN or infinity on one side, or `BOOL`
    /// or `BYTES`.
    pub without_distance: u64,
    /// The largest distance that could be told. 0.0 for none.
    pub max_absolute: f64,
    /// The largest distance as a part of the primary's number, where that is not 0. 0.0 for none.
    pub max_relative: f64,
    /// Whether rows have their highest value at the same place; `None` for what has no rows to choose from:
    /// `BOOL`, `BYTES`, fewer than two dimensions, or fewer than two values in a row.
    pub top_one: Option<TopOne>,
}

/// In how many rows the highest value is at the same place: whether a classifier's answer is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct TopOne {
    /// Rows: along all dimensions but the last one.
    pub rows: u64,
    /// Those that agree. The first of several highest counts, NaN never does, and rows of nothing but NaN
    /// agree with each other.
    pub agreed: u64,
}

/// Compares a shadow's answer with the primary's. Outputs are matched by name, in any order; parameters,
/// ids and versions are not compared.
///
/// O(bytes of both). Integers of 64 bits are subtracted exactly before they are compared with a tolerance.
///
/// ```
/// use tensorforge::contracts::InferResponse;
/// use tensorforge::models::Tensor;
/// use tensorforge::routing::{OutputDifference, Tolerance, compare_responses};
///
/// let response = |values: &[f32]| InferResponse {
///     model_name: "digits".into(),
///     model_version: "1".into(),
///     id: String::new(),
///     parameters: Default::default(),
///     outputs: vec![Tensor::from_f32("probabilities", vec![1, 3], values)],
/// };
/// let tolerance = Tolerance::new(0.0, 0.1).unwrap();
/// let comparison = compare_responses(&response(&[0.1, 0.7, 0.2]), &response(&[0.1, 0.5, 0.4]), &tolerance);
/// assert!(!comparison.agrees());
/// let OutputDifference::Values(values) = &comparison.outputs[0].difference else { panic!() };
/// assert_eq!((values.elements, values.beyond), (3, 2));
/// assert_eq!(values.top_one.unwrap().agreed, 1); // 1 is the answer of both
/// ```
#[must_use]
pub fn compare_responses(
    primary: &InferResponse,
    shadow: &InferResponse,
    tolerance: &Tolerance,
) -> Comparison {
    let mut comparison = Comparison::default();
    for ours in &primary.outputs {
        match shadow.outputs.iter().find(|output| output.name() == ours.name()) {
            None => comparison.missing.push(ours.name().to_owned()),
            Some(theirs) => comparison.outputs.push(OutputComparison {
                name: ours.name().to_owned(),
                difference: compare_tensors(ours, theirs, tolerance),
            }),
        }
    }
    let is_new = |output: &&Tensor| primary.outputs.iter().all(|o| o.name() != output.name());
    let unexpected = shadow.outputs.iter().filter(is_new);
    comparison.unexpected = unexpected.map(|output| output.name().to_owned()).collect();
    comparison
}

fn compare_tensors(primary: &Tensor, shadow: &Tensor, tolerance: &Tolerance) -> OutputDifference {
    if primary.datatype() != shadow.datatype() {
        let (primary, shadow) = (primary.datatype(), shadow.datatype());
        return OutputDifference::DataType { primary, shadow };
    }
    if primary.shape() != shadow.shape() {
        let (primary, shadow) = (primary.shape().to_vec(), shadow.shape().to_vec());
        return OutputDifference::Shape { primary, shadow };
    }
    OutputDifference::Values(match primary.datatype() {
        DataType::Bool => equality(
            primary.data().iter().map(|&truth| truth != 0),
            shadow.data().iter().map(|&truth| truth != 0),
        ),
        DataType::Bytes => equality(primary.bytes_elements(), shadow.bytes_elements()),
        _ => {
            let numbers = numbers(primary).zip(numbers(shadow));
            let mut differences = ValueDifferences::default();
            numbers.for_each(|(a, b)| differences.insert(a, b, tolerance));
            differences.top_one = top_one(primary, shadow);
            differences
        }
    })
}

fn equality<T: PartialEq>(
    primary: impl Iterator<Item = T>,
    shadow: impl Iterator<Item = T>,
) -> ValueDifferences {
    let mut differences = ValueDifferences::default();
    for (a, b) in primary.zip(shadow) {
        let is_other = u64::from(a != b);
        differences.elements += 1;
        differences.beyond += is_other;
        differences.without_distance += is_other;
    }
    differences
}

/// A value of any numeric type, exactly.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Number {
    Float(f64),
    Whole(i128),
}

impl Number {
    fn is_nan(self) -> bool {
        matches!(self, Self::Float(value) if value.is_nan())
    }

    fn size(self) -> f64 {
        match self {
            Self::Float(value) => value.abs(),
            Self::Whole(value) => value.unsigned_abs() as f64,
        }
    }

    /// How far apart two numbers of one type are; `None` if that cannot be told.
    fn distance(self, other: Self) -> Option<f64> {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => Some((a - b).abs()).filter(|gap| gap.is_finite()),
            (Self::Whole(a), Self::Whole(b)) => Some(a.abs_diff(b) as f64),
            _ => None,
        }
    }
}

impl ValueDifferences {
    fn insert(&mut self, primary: Number, shadow: Number, tolerance: &Tolerance) {
        self.elements += 1;
        let both_nan = primary.is_nan() && shadow.is_nan();
        if primary == shadow || both_nan && tolerance.nan_agrees {
            return;
        }
        let Some(distance) = primary.distance(shadow) else {
            self.beyond += 1;
            self.without_distance += 1;
            return;
        };
        let size = primary.size();
        self.max_absolute = self.max_absolute.max(distance);
        if size > 0.0 {
            // A part of the smallest numbers may be more than can be told.
            self.max_relative = self.max_relative.max((distance / size).min(f64::MAX));
        }
        if distance > tolerance.absolute + tolerance.relative * size {
            self.beyond += 1;
        }
    }
}

/// The values of a numeric tensor; none of any other.
fn numbers(tensor: &Tensor) -> impl Iterator<Item = Number> + '_ {
    let decode: fn(&[u8]) -> Option<Number> = match tensor.datatype() {
        DataType::Uint8 => |bytes| whole(bytes, u8::from_le_bytes),
        DataType::Uint16 => |bytes| whole(bytes, u16::from_le_bytes),
        DataType::Uint32 => |bytes| whole(bytes, u32::from_le_bytes),
        DataType::Uint64 => |bytes| whole(bytes, u64::from_le_bytes),
        DataType::Int8 => |bytes| whole(bytes, i8::from_le_bytes),
        DataType::Int16 => |bytes| whole(bytes, i16::from_le_bytes),
        DataType::Int32 => |bytes| whole(bytes, i32::from_le_bytes),
        DataType::Int64 => |bytes| whole(bytes, i64::from_le_bytes),
        DataType::Fp16 => |bytes| float(bytes, f16::from_le_bytes),
        DataType::Bf16 => |bytes| float(bytes, bf16::from_le_bytes),
        DataType::Fp32 => |bytes| float(bytes, f32::from_le_bytes),
        DataType::Fp64 => |bytes| float(bytes, f64::from_le_bytes),
        DataType::Bool | DataType::Bytes => |_| None,
    };
    let size = tensor.datatype().size().unwrap_or(1);
    tensor.data().chunks_exact(size).filter_map(decode)
}

fn whole<const SIZE: usize, T: Into<i128>>(
    bytes: &[u8],
    read: fn([u8; SIZE]) -> T,
) -> Option<Number> {
    Some(Number::Whole(read(bytes.try_into().ok()?).into()))
}

fn float<const SIZE: usize, T: Into<f64>>(
    bytes: &[u8],
    read: fn([u8; SIZE]) -> T,
) -> Option<Number> {
    Some(Number::Float(read(bytes.try_into().ok()?).into()))
}

fn top_one(primary: &Tensor, shadow: &Tensor) -> Option<TopOne> {
    let (&choices, rows) = primary.shape().split_last()?;
    if rows.is_empty() || choices < 2 {
        return None;
    }
    let (mut ours, mut theirs) = (numbers(primary).peekable(), numbers(shadow));
    let mut counted = TopOne::default();
    while ours.peek().is_some() {
        counted.rows += 1;
        let (ours, theirs) = (highest(&mut ours, choices), highest(&mut theirs, choices));
        counted.agreed += u64::from(ours == theirs);
    }
    Some(counted)
}

/// Where the first of the highest of the next `choices` numbers is.
fn highest(numbers: &mut impl Iterator<Item = Number>, choices: usize) -> Option<usize> {
    let mut best: Option<(usize, Number)> = None;
    for (index, number) in numbers.take(choices).enumerate() {
        if !number.is_nan() && best.is_none_or(|(_, best)| number > best) {
            best = Some((index, number));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests;
