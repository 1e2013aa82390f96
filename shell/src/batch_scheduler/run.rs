//! One batch on a worker thread: join, run, split, answer.

use super::drive::{Job, Pending, Shared};
use super::watch::{Ended, Watched};
use super::{RunError, assemble, count};
use crate::contracts::Parameters;
use crate::device::ExecuteError;
use crate::models::Tensor;
use crate::registry::LoadedModel;
use crate::telemetry::{BatchRecord, ExecutionTimes, FailReason};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tensorforge_core::{Event, Failure};

/// Runs a batch and answers its requests, or gives them back to the engine, which runs them again in
/// halves until the one at fault stands alone.
pub(super) fn run(shared: &Shared, job: Job) {
    let Job { model, mut batch, mut requests } = job;
    // A sender that hung up while its batch was on the way here wants no answer.
    let mut gone = Vec::new();
    requests.retain(|queued| {
        let wanted = !queued.request.payload.reply.is_closed();
        if !wanted {
            queued.request.payload.failed(shared.clock.now(), FailReason::Canceled);
            gone.push(queued.request.key.signature);
        }
        wanted
    });
    if requests.is_empty() {
        shared.decide(|state, now, actions| {
            actions.left.extend(gone);
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
    // Taken out, so that the requests can be answered while the model has their inputs.
    let work: Vec<Work> =
        requests.iter_mut().map(|queued| Work::of(&mut queued.request.payload)).collect();
    let parameters = requests[0].request.payload.parameters.clone();
    let executed = match model.config.hang_timeout {
        None => execute_caught(shared, &model, &work, &parameters),
        Some(limit) => {
            let watched = Watched::begin(shared, batch, requests, limit);
            let executed = execute_caught(shared, &model, &work, &parameters);
            shared.unwatch(&watched);
            match watched.end() {
                Some(Ended::InTime(its, theirs)) => (batch, requests) = (its, theirs),
                Some(Ended::TooLate(batch)) => {
                    let took = clock.now().since(started);
                    shared.decide(|state, now, actions| {
                        actions.left.extend(gone);
                        let none = Vec::new();
                        state.engine.failed(now, batch, took, Failure::Failed, none, actions)
                    });
                    return;
                }
                None => return,
            }
            executed
        }
    };
    let ended = clock.now();
    let took = ended.since(started);
    match executed {
        Ok(executed) => {
            let Executed { answers, rows, times } = executed;
            let record = BatchRecord {
                now: ended,
                priority: batch.priority(),
                // Not those that it was closed with: some may have been given up since.
                items: work.iter().map(|work| work.rows as u64).sum(),
                copied: 0,
                padded: rows,
                max_items: if model.executor.io().batches {
                    model.config.max_batch.into()
                } else {
                    1
                },
                reason: batch.reason(),
                times,
            };
            let latencies: Vec<_> =
                requests.iter().map(|queued| ended.since(queued.request.payload.arrived)).collect();
            // Counted before anyone is answered: whoever has an answer finds it in the statistics.
            count::executed(&model, &requests, &record, started);
            gone.extend(requests.iter().map(|queued| queued.request.key.signature));
            for (queued, outputs) in requests.into_iter().zip(answers) {
                let _ = queued.request.payload.reply.send(Ok(outputs));
            }
            shared.decide(|state, now, actions| {
                actions.left.extend(gone);
                let latencies = latencies.into_iter();
                actions.known.executed(model.id, batch.padded(), took, latencies, now);
                state.engine.handle(now, Event::Finished { batch, took, memory: None }, actions)
            });
        }
        Err(error) => {
            tracing::debug!(?model, %error, requests = requests.len(), "batch failed");
            count::failed(&model, &requests, batch.priority());
            let failure = match &error {
                RunError::Execute(ExecuteError::OutOfMemory { .. }) => Failure::OutOfMemory,
                _ => Failure::Failed,
            };
            for (queued, work) in requests.iter_mut().zip(work) {
                queued.request.payload.inputs = work.inputs;
            }
            shared.decide(|state, now, actions| {
                actions.left.extend(gone);
                actions.error = Some(error);
                state.engine.failed(now, batch, took, failure, requests, actions)
            });
        }
    }
}

/// What a request brings to its execution.
struct Work {
    inputs: Vec<Tensor>,
    rows: usize,
}

impl Work {
    fn of(request: &mut Pending) -> Self {
        Self { inputs: std::mem::take(&mut request.inputs), rows: request.rows }
    }
}

/// The model is third-party code; a panic there must cost its own batch only, and never the engine its
/// batch.
fn execute_caught(
    shared: &Shared,
    model: &LoadedModel,
    work: &[Work],
    parameters: &Parameters,
) -> Result<Executed, RunError> {
    catch_unwind(AssertUnwindSafe(|| execute(shared, model, work, parameters))).unwrap_or_else(
        |panic| {
            let backend = backend_name(model);
            Err(RunError::Panicked { backend, message: panic_message(&*panic) })
        },
    )
}

struct Executed {
    /// The outputs of each request.
    answers: Vec<Vec<Tensor>>,
    /// Rows that ran, padding among them.
    rows: u64,
    times: ExecutionTimes,
}

fn execute(
    shared: &Shared,
    model: &LoadedModel,
    work: &[Work],
    parameters: &Parameters,
) -> Result<Executed, RunError> {
    let clock = shared.clock;
    let executor = &*model.executor;
    let backend = executor.backend();
    let io = executor.io();
    let bad_output = |message: String| ExecuteError::BadOutput { backend, message };

    let start = clock.now();
    let rows: Vec<usize> = work.iter().map(|work| work.rows).collect();
    let inputs = if io.batches {
        let total: usize = rows.iter().sum();
        let padded = padded_rows(model, total);
        (0..io.inputs.len())
            .map(|input| {
                let parts: Vec<&Tensor> = work.iter().map(|work| &work.inputs[input]).collect();
                assemble::join(&parts, padded)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ExecuteError::Failed { backend, message: error.to_string() })?
    } else {
        work[0].inputs.clone()
    };

    let joined = clock.now();
    // A batch's requests agree in those parameters that it is told.
    let outputs = executor.execute_with(&inputs, parameters)?;

    let ran = clock.now();
    if outputs.len() != io.outputs.len() {
        let (got, want) = (outputs.len(), io.outputs.len());
        return Err(bad_output(format!("{got} outputs instead of {want}")).into());
    }
    let mut rows_run = 1;
    let answers = if io.batches {
        let padded = inputs.first().map_or(0, |input| input.shape()[0]);
        rows_run = padded as u64;
        let mut answers = vec![Vec::with_capacity(outputs.len()); work.len()];
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
    Ok(Executed { answers, rows: rows_run, times })
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
