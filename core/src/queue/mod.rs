//! Orders of waiting requests.
//!
//! `heap` is the order inside one batch group: priority descending, first-in first-out among
//! equals, owned by one thread.

pub(crate) mod heap;
