//! An engine whose places are allocated once.

use super::{Engine, LaneState};
use crate::batch::{Entry, Group};
use alloc::boxed::Box;
use core::iter::repeat_with;

/// An engine of a size chosen at run time, whose places are allocated once.
pub type BoxedEngine<T> = Engine<T, Box<[Entry<T>]>, Box<[Group]>, Box<[Option<LaneState>]>>;

impl<T> BoxedEngine<T> {
    /// An engine that knows no model yet, with room for so many waiting or running requests of so many
    /// different batch keys, over so many models. Allocates here and nowhere else.
    #[must_use]
    pub fn boxed(requests: usize, groups: usize, models: usize) -> Self {
        Self::with_places(
            repeat_with(|| Entry::EMPTY).take(requests).collect(),
            repeat_with(|| Group::UNUSED).take(groups).collect(),
            repeat_with(|| None).take(models).collect(),
        )
    }
}
