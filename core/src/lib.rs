//! The decisions of an inference server, and nothing else.
//!
//! This crate decides which request runs next, in which batch and when. It reads no clock, starts
//! no thread, allocates nothing and does no I/O: the current time comes in as an [`Instant`], the
//! next time it wants to be asked comes out. So a decision can be replayed bit for bit, tested in
//! virtual time, fuzzed, and run on a microcontroller.
//!
//! [`Engine`] composes the parts; each part also stands alone.
//!
//! ```
//! use tensorforge_core::{ActionSink, Batch, Queued, Refused};
//! use tensorforge_core::{BatchKey, Duration, Event, Instant, Lane, ModelId, Request, StaticEngine};
//!
//! #[derive(Default)]
//! struct Ran(Vec<Vec<u32>>);
//! impl ActionSink<u32> for Ran {
//!     fn dispatch(&mut self, _: Batch, requests: &mut dyn ExactSizeIterator<Item = Queued<u32>>) {
//!         self.0.push(requests.map(|queued| queued.request.payload).collect());
//!     }
//!     fn refuse(&mut self, _: Request<u32>, _: Refused) {}
//! }
//!
//! // Room for 16 requests in 4 groups, over 1 model.
//! let mut engine: StaticEngine<u32, 16, 4, 1> = StaticEngine::new();
//! let model = ModelId(0);
//! engine.configure(model, Lane::new(2, Duration::from_millis(5))).unwrap();
//!
//! let key = BatchKey { model, signature: 0 };
//! let mut ran = Ran::default();
//! let start = Instant::ZERO;
//! // The first request waits for company until its window closes ...
//! let wake = engine.handle(start, Event::Arrived(Request::new(key, 1, 7)), &mut ran);
//! assert_eq!(wake, Some(start + Duration::from_millis(5)));
//! // ... and a second one fills the batch at once.
//! engine.handle(start, Event::Arrived(Request::new(key, 1, 8)), &mut ran);
//! assert_eq!(ran.0, [[7, 8]]);
//! ```

#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod batch;
pub mod breaker;
pub mod engine;
pub mod limiter;
pub mod machine;
pub mod policy;
pub mod quantile;
pub mod queue;
pub mod ring;
pub mod route;
pub mod stats;
mod sync;
pub mod time;

pub use batch::{Batch, BatchKey, ClosingReason, Lane, ModelId, Queued, Request, Ticket};
#[cfg(feature = "alloc")]
pub use engine::BoxedEngine;
pub use engine::{ActionSink, Dropped, Engine, Event, Failure, Refused, StaticEngine};
pub use time::{Duration, Instant};
