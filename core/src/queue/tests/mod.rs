//! The queue as its users see it.

mod bounds;
mod concurrent;
mod histories;
mod lifetimes;
mod paused;
mod sequential;
