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
//! use tensorforge_core::{BatchKey, BatchLimits, Duration, Engine, Event, Instant, ModelId, Request};
//! use tensorforge_core::{ActionSink, Batch, Lane, Refused};
//!
//! #[derive(Default)]
//! struct Ran(Vec<Vec<u32>>);
//! impl ActionSink<u32> for Ran {
//!     fn dispatch(&mut self, batch: Batch<'_, u32>) {
//!         self.0.push(batch.map(|request| request.payload).collect());
//!     }
//!     fn refuse(&mut self, _: Request<u32>, _: Refused) {}
//! }
//!
//! // Room for 16 requests in 4 groups, over 1 model.
//! let mut engine: Engine<u32, 16, 4, 1> = Engine::new();
//! let model = ModelId(0);
//! let limits = BatchLimits { max_items: 2, max_wait: Duration::from_millis(5) };
//! engine.configure(model, Lane::new(limits)).unwrap();
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
pub mod stats;
mod sync;
pub mod time;

pub use batch::{Batch, BatchKey, BatchLimits, ClosingReason, ModelId, Planner, Request, Ticket};
pub use engine::{ActionSink, Engine, Event, Lane, Refused};
pub use time::{Duration, Instant};
