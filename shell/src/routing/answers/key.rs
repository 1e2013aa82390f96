//! What an answer depends on.

use crate::contracts::InferRequest;
use sha2::{Digest, Sha256};

/// Parameters that say when and in which order a request is answered, not what the answer is.
const WITHOUT_EFFECT: [&str; 2] = ["priority", "timeout"];

/// A model, a version and everything in a request that the answer may depend on.
///
/// Requests have equal keys if they ask the same version for the same outputs, in the same order, with the
/// same inputs (in any order, for they are named) and the same parameters but `priority` and `timeout`. The
/// id and whether tensors travel as JSON or binary make no difference. The content is held as a SHA-256 over
/// an encoding in which every part has its length before it: two different requests never encode alike, and
/// nobody knows two encodings of one hash.
///
/// O(bytes of the inputs).
///
/// ```
/// use tensorforge::contracts::InferRequest;
/// use tensorforge::routing::AnswerKey;
///
/// let request = |id: &str| InferRequest { id: id.to_string(), ..InferRequest::default() };
/// assert_eq!(AnswerKey::of("m", "1", &request("a")), AnswerKey::of("m", "1", &request("b")));
/// assert_ne!(AnswerKey::of("m", "1", &request("a")), AnswerKey::of("m", "2", &request("a")));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AnswerKey {
    model: String,
    version: String,
    content: [u8; 32],
}

impl AnswerKey {
    /// The key of `request`, answered by this version of the model.
    #[must_use]
    pub fn of(model: &str, version: &str, request: &InferRequest) -> Self {
        let content = content(request);
        Self { model: model.to_owned(), version: version.to_owned(), content }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

fn content(request: &InferRequest) -> [u8; 32] {
    let mut hash = Hash(Sha256::new());
    let mut inputs: Vec<_> = request.inputs.iter().collect();
    inputs.sort_by_key(|input| input.name());
    hash.number(inputs.len());
    for input in inputs {
        hash.bytes(input.name().as_bytes());
        hash.bytes(input.datatype().name().as_bytes());
        hash.number(input.shape().len());
        input.shape().iter().for_each(|&size| hash.number(size));
        hash.bytes(input.data());
    }
    hash.number(request.outputs.len());
    request.outputs.iter().for_each(|output| hash.bytes(output.name.as_bytes()));
    let parameters = request.parameters.iter();
    let mut parameters: Vec<_> =
        parameters.filter(|(name, _)| !WITHOUT_EFFECT.contains(&name.as_str())).collect();
    parameters.sort_by_key(|(name, _)| *name);
    hash.number(parameters.len());
    for (name, value) in parameters {
        hash.bytes(name.as_bytes());
        hash.bytes(value.to_string().as_bytes());
    }
    hash.0.finalize().into()
}

/// Parts, each with its length.
struct Hash(Sha256);

impl Hash {
    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }
}
