//! A model's configuration in the form Triton's clients read.

use crate::models::{DataType, TensorSpec};
use crate::registry::LoadedModel;
use serde_json::{Value, json};

/// What `GET /v2/models/MODEL/config` answers. perf_analyzer needs `name` and `max_batch_size`; the rest is for
/// people and other tools.
pub(super) fn model_config(model: &LoadedModel) -> Value {
    let io = model.executor.io();
    let tensors = |specs: &[TensorSpec]| -> Vec<Value> {
        let tensor = |spec: &TensorSpec| {
            // Triton leaves the batch dimension out when the model batches.
            let dims = &spec.shape[usize::from(io.batches)..];
            json!({ "name": spec.name, "data_type": type_name(spec.datatype), "dims": dims })
        };
        specs.iter().map(tensor).collect()
    };
    let mut config = json!({
        "name": model.name,
        "platform": format!("onnx_{}", model.executor.backend()),
        "backend": model.executor.backend(),
        "max_batch_size": if io.batches { model.config.max_batch } else { 0 },
        "input": tensors(&io.inputs),
        "output": tensors(&io.outputs),
        "instance_group": [{ "kind": "KIND_CPU", "count": model.config.instances }],
    });
    if io.batches {
        let delay = u64::try_from(model.config.max_wait.as_micros()).unwrap_or(u64::MAX);
        config["dynamic_batching"] = json!({
            "preferred_batch_size": model.config.preferred_sizes,
            "max_queue_delay_microseconds": delay,
        });
    }
    config
}

fn type_name(datatype: DataType) -> String {
    match datatype {
        DataType::Bytes => "TYPE_STRING".to_owned(),
        other => format!("TYPE_{other}"),
    }
}
