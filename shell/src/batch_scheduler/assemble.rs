//! Joining the rows of several requests into one batch, and splitting the answer again.

use crate::models::{DataType, Tensor, TensorError, element_count};
use bytes::Bytes;

/// Joins the same input of several requests along the first dimension and pads with zeros (empty
/// strings for `BYTES`) to `padded` rows.
///
/// The tensors must agree in name, type and all other dimensions; the batch key saw to that. A
/// single tensor of the right size is passed on without a copy.
///
/// # Errors
/// [`TensorError`] when they do not agree.
pub(super) fn join(parts: &[&Tensor], padded: usize) -> Result<Tensor, TensorError> {
    let first = parts[0];
    let rows: usize = parts.iter().map(|part| part.shape()[0]).sum();
    if parts.len() == 1 && rows == padded {
        return Ok(first.clone());
    }
    let mut shape = first.shape().to_vec();
    shape[0] = padded;
    let row_elements = row_elements(&shape);
    // An empty BYTES element is its four-byte length.
    let padding = (padded - rows) * row_elements * first.datatype().size().unwrap_or(4);
    let filled: usize = parts.iter().map(|part| part.data().len()).sum();
    let mut data = Vec::with_capacity(filled + padding);
    for part in parts {
        data.extend_from_slice(part.data());
    }
    data.resize(filled + padding, 0);
    Tensor::new(first.name(), first.datatype(), shape, data.into())
}

/// Cuts an output into the rows of each request, `rows` in order; padding at the end is left out.
/// The parts share the output's memory.
///
/// # Errors
/// [`TensorError`] when the output has fewer rows than asked for.
pub(super) fn split(output: &Tensor, rows: &[usize]) -> Result<Vec<Tensor>, TensorError> {
    let row_elements = row_elements(output.shape());
    let mut rest = output.data().clone();
    rows.iter()
        .map(|&rows| {
            let mut shape = output.shape().to_vec();
            shape[0] = rows;
            let length = data_length(output.datatype(), &rest, rows * row_elements);
            let data = rest.split_to(length.min(rest.len()));
            Tensor::new(output.name(), output.datatype(), shape, data)
        })
        .collect()
}

/// Elements in one row. Of an empty tensor the dimensions may multiply to more than can be counted.
fn row_elements(shape: &[usize]) -> usize {
    element_count(&shape[1..]).unwrap_or(0)
}

/// Bytes that the first `elements` elements of `data` take.
fn data_length(datatype: DataType, data: &Bytes, elements: usize) -> usize {
    match datatype.size() {
        Some(size) => elements * size,
        None => {
            let mut reader = crate::models::BytesElements::new(data);
            reader.by_ref().take(elements).for_each(drop);
            data.len() - reader.rest().len()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::push_bytes_element;
    use proptest::prelude::*;

    fn strings(rows: usize, columns: usize, seed: usize) -> Tensor {
        let mut data = Vec::new();
        for element in 0..rows * columns {
            push_bytes_element(&mut data, "x".repeat((seed + element * 7) % 5).as_bytes());
        }
        Tensor::new("s", DataType::Bytes, vec![rows, columns], data.into()).unwrap()
    }

    fn floats(rows: usize, columns: usize, seed: usize) -> Tensor {
        let values: Vec<f32> = (0..rows * columns).map(|i| (seed * 1000 + i) as f32).collect();
        Tensor::from_f32("f", vec![rows, columns], &values)
    }

    proptest! {
        #[test]
        fn splitting_a_joined_batch_gives_the_parts_back(
            rows in prop::collection::vec(1..4usize, 1..6),
            columns in 0..3usize,
            padding in 0..5usize,
        ) {
            for make in [strings, floats] {
                let parts: Vec<Tensor> =
                    rows.iter().enumerate().map(|(i, &rows)| make(rows, columns, i)).collect();
                let padded = rows.iter().sum::<usize>() + padding;
                let batch = join(&parts.iter().collect::<Vec<_>>(), padded).unwrap();
                prop_assert_eq!(batch.shape(), &[padded, columns][..]);
                prop_assert_eq!(split(&batch, &rows).unwrap(), parts);
            }
        }
    }

    #[test]
    fn an_answer_with_too_few_rows_is_an_error() {
        assert!(split(&floats(2, 3, 0), &[1, 2]).is_err());
        assert!(split(&strings(2, 3, 0), &[1, 2]).is_err());
    }
}
