//! What requests must share to run in one batch.

/// One version of one model, as a small number chosen by the caller.
///
/// The caller keeps the names; two versions of a model are two ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ModelId(pub u32);

/// Requests with equal keys may share a batch: same model and version, same input types and
/// shapes apart from the batch dimension.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BatchKey {
    /// The model and version.
    pub model: ModelId,
    /// Names the combination of input types and shapes.
    ///
    /// The caller numbers the combinations it has met (0, 1, 2 …). A hash would not do: two
    /// shapes that collide would be run as one.
    pub signature: u32,
}
