//! The suite of routing.
