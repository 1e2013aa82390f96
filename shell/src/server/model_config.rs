//! A model's configuration in the form Triton's clients send.

use crate::config::{ModelConfig, Version, VersionPolicy};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// Reads the configuration sent with a request to load `model`: the keys of `config.toml` as JSON, and of
/// Triton's model configuration those that have their like here. What the model's file says itself
/// (`input`, `output`, `platform`) may be there and is not looked at.
///
/// # Errors
/// What is wrong, naming the key.
pub(super) fn sent_config(model: &str, text: &str) -> Result<ModelConfig, String> {
    let mut sent: Map<String, Value> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut config = TritonConfig::default();
    for key in TritonConfig::KEYS {
        if let Some(value) = sent.remove(key) {
            config.read(key, value).map_err(|problem| format!("{key}: {problem}"))?;
        }
    }
    if config.name.as_ref().is_some_and(|name| !name.is_empty() && name != model) {
        return Err(format!("name: it is for another model than '{model}'"));
    }
    let mut own: ModelConfig =
        serde_json::from_value(Value::Object(sent)).map_err(|error| error.to_string())?;
    config.apply(&mut own)?;
    own.check().map_err(|error| error.to_string())?;
    Ok(own)
}

/// What of Triton's `ModelConfig` message has its like in a [`ModelConfig`].
#[derive(Default)]
struct TritonConfig {
    name: Option<String>,
    max_batch_size: Option<u32>,
    version_policy: Option<TritonPolicy>,
    dynamic_batching: Option<TritonBatching>,
    instance_group: Vec<TritonGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum TritonPolicy {
    All {},
    Latest { num_versions: usize },
    Specific { versions: Vec<Version> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TritonBatching {
    preferred_batch_size: Option<Vec<u32>>,
    max_queue_delay_microseconds: Option<u64>,
    preserve_ordering: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TritonGroup {
    #[serde(default, rename = "name")]
    _name: String,
    #[serde(default)]
    kind: String,
    count: Option<u32>,
}

impl TritonConfig {
    const KEYS: [&str; 8] = [
        "name",
        "platform",
        "input",
        "output",
        "max_batch_size",
        "version_policy",
        "dynamic_batching",
        "instance_group",
    ];

    fn read(&mut self, key: &str, value: Value) -> Result<(), String> {
        fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
            serde_json::from_value(value).map_err(|error| error.to_string())
        }
        match key {
            "name" => self.name = Some(parse(value)?),
            "max_batch_size" => self.max_batch_size = Some(parse(value)?),
            "version_policy" => self.version_policy = Some(parse(value)?),
            "dynamic_batching" => self.dynamic_batching = Some(parse(value)?),
            "instance_group" => self.instance_group = parse(value)?,
            _ => {}
        }
        Ok(())
    }

    fn apply(self, config: &mut ModelConfig) -> Result<(), String> {
        if let Some(most) = self.max_batch_size {
            // 0 is a model without a batch dimension; such a one runs requests one by one in any case.
            config.max_batch = most.max(1);
        }
        match self.version_policy {
            None => {}
            Some(TritonPolicy::All {}) => config.versions = VersionPolicy::All,
            Some(TritonPolicy::Latest { num_versions }) => {
                config.versions = VersionPolicy::Latest(num_versions);
            }
            Some(TritonPolicy::Specific { versions }) => {
                config.versions = VersionPolicy::Named(versions);
            }
        }
        if let Some(batching) = self.dynamic_batching {
            if let Some(sizes) = batching.preferred_batch_size {
                config.preferred_sizes = sizes;
            }
            if let Some(micros) = batching.max_queue_delay_microseconds {
                config.max_wait = Duration::from_micros(micros);
            }
            config.preserve_order = batching.preserve_ordering.unwrap_or(config.preserve_order);
        }
        match &self.instance_group[..] {
            [] => {}
            [TritonGroup { kind, count, .. }]
                if ["", "KIND_CPU", "KIND_AUTO"].contains(&&**kind) =>
            {
                config.instances = count.unwrap_or(config.instances);
            }
            _ => return Err("instance_group: there is one group here, of KIND_CPU".into()),
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing {
    use super::*;

    #[test]
    fn a_configuration_is_sent_with_our_keys_or_tritons() {
        let ours = sent_config("m", r#"{"max_batch": 8, "max_wait": "2ms", "pinned": true}"#);
        let expected = ModelConfig {
            max_batch: 8,
            max_wait: Duration::from_millis(2),
            pinned: true,
            ..ModelConfig::default()
        };
        assert_eq!(ours, Ok(expected));
        let text = r#"{"name": "m", "platform": "onnx_tract", "max_batch_size": 4, "input": [], "output": [],
            "version_policy": {"latest": {"num_versions": 2}},
            "instance_group": [{"kind": "KIND_CPU", "count": 3}],
            "dynamic_batching": {"preferred_batch_size": [2], "max_queue_delay_microseconds": 100}}"#;
        let expected = ModelConfig {
            max_batch: 4,
            versions: VersionPolicy::Latest(2),
            instances: 3,
            preferred_sizes: vec![2],
            max_wait: Duration::from_micros(100),
            ..ModelConfig::default()
        };
        assert_eq!(sent_config("m", text), Ok(expected));
    }

    #[test]
    fn what_has_no_like_here_is_refused_by_name() {
        for (text, complaint) in [
            ("[]", "invalid type: sequence"),
            ("{", "EOF"),
            (r#"{"sequence_batching": {}}"#, "unknown field `sequence_batching`"),
            (r#"{"name": "other"}"#, "name: it is for another model than 'm'"),
            (r#"{"max_batch_size": -1}"#, "max_batch_size: invalid value"),
            (r#"{"max_batch": 0}"#, "max_batch: must be at least 1"),
            (r#"{"dynamic_batching": {"priority_levels": 2}}"#, "unknown field `priority_levels`"),
            (r#"{"version_policy": {"newest": {}}}"#, "version_policy: unknown variant `newest`"),
            (r#"{"instance_group": [{"kind": "KIND_GPU"}]}"#, "instance_group: there is one group"),
            (r#"{"version_policy": {"latest": {"num_versions": 0}}}"#, "latest must be at least 1"),
        ] {
            let error = sent_config("m", text).unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
