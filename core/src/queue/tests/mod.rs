//! The queue as its users see it.

mod model;
mod sequential;
