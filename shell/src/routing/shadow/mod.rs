//! What a shadow's answers are worth: compared with the primary's, and added up.

mod compare;
mod report;

pub use compare::{
    Comparison, OutputComparison, OutputDifference, Tolerance, TopOne, ValueDifferences,
    compare_responses,
};
pub use report::{MAX_OUTPUT_NAMES, OutputCounts, ShadowReport};
