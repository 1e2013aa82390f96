//! The queue as its users see it.

mod bounds;
mod concurrent;
mod lifetimes;
mod model;
mod paused;
mod sequential;
