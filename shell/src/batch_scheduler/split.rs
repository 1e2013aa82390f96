//! Requests of more rows than one batch may hold: cut up, run in parts, and put together again.

use super::{RunError, Waiting, assemble};
use crate::config::ModelConfig;
use crate::models::{ModelIo, Tensor};
use std::future::poll_fn;
use std::task::Poll;

/// The inputs of one part, and its rows.
pub(super) type Part = (Vec<Tensor>, usize);

/// Cuts a request into parts of at most `max_batch` rows, in order. The parts share its memory. `None`
/// for one that fits, or that the model does not allow to be cut.
///
/// # Errors
/// [`RunError::TooManyRows`] when its parts alone would fill the model's queue.
pub(super) fn parts(
    config: &ModelConfig,
    io: &ModelIo,
    inputs: &[Tensor],
    rows: usize,
) -> Result<Option<Vec<Part>>, RunError> {
    let most = config.max_batch as usize;
    if !config.split || !io.batches || rows <= most {
        return Ok(None);
    }
    let most_parts = config.max_queued as usize;
    let most_rows = most.saturating_mul(most_parts);
    if rows > most_rows {
        return Err(RunError::TooManyRows { most: most_rows });
    }
    let mut sizes = vec![most; rows / most];
    sizes.extend(Some(rows % most).filter(|&rest| rest > 0));
    let mut parts: Vec<Part> =
        sizes.iter().map(|&rows| (Vec::with_capacity(inputs.len()), rows)).collect();
    for input in inputs {
        let pieces = assemble::split(input, &sizes).map_err(RunError::not_joined)?;
        parts.iter_mut().zip(pieces).for_each(|((inputs, _), piece)| inputs.push(piece));
    }
    Ok(Some(parts))
}

/// The answer to all parts, in their order. The first error is that of the whole, and takes the other
/// parts out of the queue.
pub(super) async fn answer(mut parts: Vec<Waiting<'_>>) -> Result<Vec<Tensor>, RunError> {
    let mut answers: Vec<Option<Vec<Tensor>>> = vec![None; parts.len()];
    poll_fn(|context| {
        let mut waits = false;
        let open = parts.iter_mut().zip(&mut answers).filter(|(_, answer)| answer.is_none());
        for (part, answer) in open {
            match part.poll_answer(context) {
                Poll::Ready(Ok(outputs)) => *answer = Some(outputs),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => waits = true,
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await?;
    join(&answers.into_iter().flatten().collect::<Vec<_>>())
}

fn join(answers: &[Vec<Tensor>]) -> Result<Vec<Tensor>, RunError> {
    let outputs = answers.first().map_or(0, Vec::len);
    (0..outputs)
        .map(|output| {
            // A model gives equally many outputs each time; a worker has checked that.
            let pieces: Vec<&Tensor> =
                answers.iter().filter_map(|answer| answer.get(output)).collect();
            let row = |piece: &Tensor| (piece.datatype(), piece.shape()[1..].to_vec());
            if let Some(other) = pieces.iter().find(|piece| row(piece) != row(pieces[0])) {
                let (name, first) = (other.name(), pieces[0].shape());
                return Err(RunError::not_joined(format!(
                    "'{name}' has shape {first:?} in one part and {:?} in another",
                    other.shape()
                )));
            }
            let rows = pieces.iter().map(|piece| piece.shape()[0]).sum();
            assemble::join(&pieces, rows).map_err(RunError::not_joined)
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod batch_scheduler {
    use super::*;
    use proptest::prelude::*;

    fn tensor(rows: usize, width: usize) -> Tensor {
        let values: Vec<f32> = (0..rows * width).map(|value| value as f32).collect();
        Tensor::from_f32("x", vec![rows, width], &values)
    }

    fn io(batches: bool) -> ModelIo {
        ModelIo { inputs: vec![], outputs: vec![], batches }
    }

    proptest! {
        #[test]
        fn parts_fit_a_batch_and_make_the_whole_again(
            rows in 1..200usize,
            width in 0..3usize,
            max_batch in 1..20u32,
        ) {
            let config = ModelConfig { max_batch, ..Default::default() };
            let whole = tensor(rows, width);
            let most = max_batch as usize;
            match parts(&config, &io(true), std::slice::from_ref(&whole), rows).unwrap() {
                None => prop_assert!(rows <= most),
                Some(parts) => {
                    prop_assert_eq!(parts.len(), rows.div_ceil(most));
                    prop_assert!(parts.iter().all(|&(_, rows)| (1..=most).contains(&rows)));
                    prop_assert!(parts.iter().all(|(inputs, rows)| inputs[0].shape()[0] == *rows));
                    let answers: Vec<_> = parts.into_iter().map(|(inputs, _)| inputs).collect();
                    prop_assert_eq!(join(&answers).unwrap(), [whole]);
                }
            }
        }
    }

    #[test]
    fn what_would_fill_the_queue_alone_is_refused() {
        let config = ModelConfig { max_batch: 4, max_queued: 3, ..Default::default() };
        assert_eq!(parts(&config, &io(true), &[tensor(12, 1)], 12).unwrap().unwrap().len(), 3);
        let error = parts(&config, &io(true), &[tensor(13, 1)], 13).unwrap_err();
        assert_eq!(error, RunError::TooManyRows { most: 12 });
    }

    #[test]
    fn parts_whose_answers_differ_in_shape_are_not_put_together() {
        let error = join(&[vec![tensor(1, 2)], vec![tensor(2, 1)]]).unwrap_err().to_string();
        assert!(
            error.contains("'x' has shape [1, 2] in one part and [2, 1] in another"),
            "{error}"
        );
    }
}
