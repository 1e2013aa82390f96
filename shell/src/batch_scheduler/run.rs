//! One batch on a worker thread: join, run, split, answer.

use super::drive::{Job, Requests, Shared};
use super::{RunError, assemble};
use crate::device::ExecuteError;
use crate::models::Tensor;
use crate::registry::LoadedModel;
use crate::telemetry::ExecutionTimes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tensorforge_core::{Event, Failure};

/// Runs a batch and answers its requests, or gives them back to the engine, which runs them again in
/// halves until the one at fault stands alone.
pub(super) fn run(shared: &Shared, job: Job) {
    let Job { model, batch, mut requests } = job;
    // A sender that hung up while its batch was on the way here wants no answer.
    let mut gone = Vec::new();
    requests.retain(|queued| {
        let wanted = !queued.request.payload.reply.is_closed();
        if !wanted {
            gone.push(queued.request.key.signature);
        }
        wanted
    });
    if requests.is_empty() {
        shared.decide(|state, now, actions| {
            actions.left = gone;
            state.engine.withdrawn(now, batch, actions)
        });
        return;
    }
    tracing::debug!(?model, reason = ?batch.reason(), requests = requests.len(), "batch");
    requests
        .iter()
        .filter_map(|queued| queued.request.payload.life.as_ref())
        .for_each(|life| life.running());
    let clock = shared.clock;
    let started = clock.now();
    // The model is third-party code; a panic there must cost its own batch only, and never the engine
    // its batch.
    let executed = catch_unwind(AssertUnwindSafe(|| execute(shared, &model, &requests)))
        .unwrap_or_else(|panic| {
            let backend = backend_name(&model);
            Err(RunError::Panicked { backend, message: panic_message(&*panic) })
        });
    let ended = clock.now();
    let took = ended.since(started);
    match executed {
        Ok(executed) => {
            let pending = || requests.iter().map(|queued| &queued.request.payload);
            let items = pending().map(|request| request.rows as u64).sum();
            let waits: Vec<_> = pending()
                .map(|request| (started.since(request.arrived), ended.since(request.arrived)))
                .collect();
            // Counted before anyone is answered: whoever has an answer finds it in the statistics.
            model.recorder.succeeded(items, executed.times, &waits);
            gone.extend(requests.iter().map(|queued| queued.request.key.signature));
            for (queued, outputs) in requests.into_iter().zip(executed.answers) {
                let _ = queued.request.payload.reply.send(Ok(outputs));
            }
            shared.decide(|state, now, actions| {
                actions.left = gone;
                state.engine.handle(now, Event::Finished { batch, took, memory: None }, actions)
            });
        }
        Err(error) => {
            tracing::debug!(?model, %error, requests = requests.len(), "batch failed");
            let failure = match &error {
                RunError::Execute(ExecuteError::OutOfMemory { .. }) => Failure::OutOfMemory,
                _ => Failure::Failed,
            };
            shared.decide(|state, now, actions| {
                actions.left = gone;
                actions.error = Some(error);
                let requests = requests.into_iter();
                state.engine.failed(now, batch, took, failure, requests, actions)
            });
        }
    }
}

struct Executed {
    /// The outputs of each request.
    answers: Vec<Vec<Tensor>>,
    times: ExecutionTimes,
}

fn execute(
    shared: &Shared,
    model: &LoadedModel,
    requests: &Requests,
) -> Result<Executed, RunError> {
    let clock = shared.clock;
    let executor = &*model.executor;
    let backend = executor.backend();
    let io = executor.io();
    let bad_output = |message: String| ExecuteError::BadOutput { backend, message };

    let start = clock.now();
    let requests: Vec<_> = requests.iter().map(|queued| &queued.request.payload).collect();
    let rows: Vec<usize> = requests.iter().map(|request| request.rows).collect();
    let inputs = if io.batches {
        let total: usize = rows.iter().sum();
        let padded = padded_rows(model, total);
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
    // A batch's requests agree in those parameters that it is told.
    let outputs = executor.execute_with(&inputs, &requests[0].parameters)?;

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

/// The rows to run `rows` with: by the sizes that the executor has ready, and those configured.
fn padded_rows(model: &LoadedModel, rows: usize) -> usize {
    let configured = model.config.batch_sizes.iter().flatten().map(|&size| size as usize);
    let mut configured = configured;
    let configured = configured.find(|&size| size >= rows).unwrap_or(rows);
    model.executor.padded_rows(configured).max(configured)
}

/// The runtime's name; whoever panics may do so when asked for it, too.
fn backend_name(model: &LoadedModel) -> &'static str {
    catch_unwind(AssertUnwindSafe(|| model.executor.backend())).unwrap_or("the runtime")
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
