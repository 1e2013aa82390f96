//! Where the planner keeps its places.

/// Memory for a fixed number of places: an array inside the value, a boxed slice, or a borrowed one.
/// Its length must not change.
pub trait Store<P>: AsRef<[P]> + AsMut<[P]> {}

impl<P, S: AsRef<[P]> + AsMut<[P]>> Store<P> for S {}
