//! One batch on a worker thread: join, run, split, answer.

use super::{BoxedRequest, Event, Job, Requests, RunError, Shared, assemble};
use crate::device::ExecuteError;
use crate::models::Tensor;
use crate::registry::LoadedModel;
use crate::telemetry::ExecutionTimes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tensorforge_core::ModelId;

/// Runs a batch and answers its requests. When it fails, each request runs again alone, so that
/// only the one at fault gets the error.
pub(super) fn run(shared: &Shared, job: Job) {
    let Job { model, reason, mut requests } = job;
    let _finished = FinishedOnDrop { shared, model: model.id };
    // A sender that hung up while its batch was on the way here wants no answer.
    requests.retain(|request| !request.reply.is_closed());
    if requests.is_empty() {
        return;
    }
    tracing::debug!(?model, ?reason, requests = requests.len(), "batch");
    requests.iter().for_each(|request| request.life.running());
    match answer(shared, &model, requests) {
        Ok(()) => {}
        Err((requests, error)) if requests.len() == 1 => fail(requests, &error),
        Err((requests, error)) => {
            tracing::debug!(?model, %error, "batch failed; its requests run again one by one");
            let why = error.to_string();
            for request in requests {
                request.life.again(&why);
                if let Err((requests, error)) = answer(shared, &model, vec![request]) {
                    fail(requests, &error);
                }
            }
        }
    }
}

/// Tells the engine that the instance is idle, whatever happened to the batch.
struct FinishedOnDrop<'a> {
    shared: &'a Shared,
    model: ModelId,
}

impl Drop for FinishedOnDrop<'_> {
    fn drop(&mut self) {
        self.shared.handle(Event::Finished(self.model));
    }
}

fn fail(requests: Requests, error: &RunError) {
    for request in requests {
        let _ = request.reply.send(Err(error.clone()));
    }
}

type Unanswered = (Requests, RunError);

/// Runs `requests` as one batch and answers them, or gives them back with the error.
fn answer(shared: &Shared, model: &LoadedModel, requests: Requests) -> Result<(), Unanswered> {
    let clock = shared.clock;
    let started = clock.now();
    let batch = match execute(shared, model, &requests) {
        Ok(batch) => batch,
        Err(error) => return Err((requests, error)),
    };
    let ended = clock.now();
    let items = requests.iter().map(|request| request.rows as u64).sum();
    let waits: Vec<_> = requests
        .iter()
        .map(|request| (started.since(request.arrived), ended.since(request.arrived)))
        .collect();
    // Counted before anyone is answered: whoever has an answer finds it in the statistics.
    model.recorder.succeeded(items, batch.times, &waits);
    for (request, outputs) in requests.into_iter().zip(batch.answers) {
        let _ = request.reply.send(Ok(outputs));
    }
    Ok(())
}

struct Executed {
    /// The outputs of each request.
    answers: Vec<Vec<Tensor>>,
    times: ExecutionTimes,
}

fn execute(
    shared: &Shared,
    model: &LoadedModel,
    requests: &[BoxedRequest],
) -> Result<Executed, RunError> {
    let clock = shared.clock;
    let executor = &*model.executor;
    let backend = executor.backend();
    let io = executor.io();
    let bad_output = |message: String| ExecuteError::BadOutput { backend, message };

    let start = clock.now();
    let rows: Vec<usize> = requests.iter().map(|request| request.rows).collect();
    let inputs = if io.batches {
        let total: usize = rows.iter().sum();
        let padded = executor.padded_rows(total).max(total);
        (0..io.inputs.len())
            .map(|input| {
                let parts: Vec<&Tensor> =
                    requests.iter().map(|request| &request.inputs[input]).collect();
                assemble::join(&parts, padded)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ExecuteError::Failed { backend, message: error.to_string() })?
    } else {
        requests[0].inputs.clone()
    };

    let joined = clock.now();
    // The model is third-party code; a panic there must cost its own batch only.
    let outputs = catch_unwind(AssertUnwindSafe(|| executor.execute(&inputs)))
        .map_err(|panic| RunError::Panicked { backend, message: panic_message(&*panic) })??;

    let ran = clock.now();
    if outputs.len() != io.outputs.len() {
        let (got, want) = (outputs.len(), io.outputs.len());
        return Err(bad_output(format!("{got} outputs instead of {want}")).into());
    }
    let answers = if io.batches {
        let padded = inputs.first().map_or(0, |input| input.shape()[0]);
        let mut answers = vec![Vec::with_capacity(outputs.len()); requests.len()];
        for output in &outputs {
            if output.shape().first() != Some(&padded) {
                let (name, shape) = (output.name(), output.shape());
                let message = format!("'{name}' has shape {shape:?} for a batch of {padded} rows");
                return Err(bad_output(message).into());
            }
            let parts =
                assemble::split(output, &rows).map_err(|error| bad_output(error.to_string()))?;
            answers.iter_mut().zip(parts).for_each(|(answer, part)| answer.push(part));
        }
        answers
    } else {
        vec![outputs]
    };
    let split = clock.now();
    let times = ExecutionTimes {
        input: joined.since(start),
        infer: ran.since(joined),
        output: split.since(ran),
    };
    Ok(Executed { answers, times })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
