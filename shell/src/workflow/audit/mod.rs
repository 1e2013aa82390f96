//! Records of every attempt that can be trusted: each holds the hash of the one before.
//!
//! [`JsonLines`] writes them to a file, [`verify`] names the first that was altered, taken out, moved or
//! cut. A sink that is slow, such as a database, belongs behind [`Buffered`], which never keeps a step
//! waiting.
//!
//! Whoever can write the file can also write a new chain from the altered record on. What they cannot
//! do is keep the last hash the same: keep it elsewhere now and then, and give it to `verify`.
//!
//! ```
//! use tensorforge::workflow::audit::{JsonLines, LinesOptions, verify_file};
//! use tensorforge::workflow::{Engine, EngineOptions};
//! use tensorforge_core::Instant;
//! use tensorforge_core::machine::{Job, JobState::*};
//!
//! let folder = std::env::temp_dir().join(format!("audit-{}", std::process::id()));
//! std::fs::create_dir_all(&folder)?;
//! let file = folder.join("audit.jsonl");
//! # let _ = std::fs::remove_file(&file);
//! let engine = Engine::<Job, (), JsonLines>::new(
//!     Job,
//!     (),
//!     JsonLines::open(&file, LinesOptions::default())?,
//!     EngineOptions::default(),
//! );
//! engine.register("export", Instant::ZERO);
//! engine.transition("export", Running, "asked to", &(), Instant::ZERO)?;
//! assert!(engine.transition("export", Pending, "", &(), Instant::ZERO).is_err());
//! let verified = verify_file(&file, None)?;
//! assert_eq!(verified.records, 2);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buffered;
mod entry;
mod lines;
mod ring;
mod told;
mod verify;

pub use buffered::Buffered;
pub use entry::{Entry, Hash};
pub use lines::{Fsync, JsonLines, LinesOptions, OpenError};
pub use ring::Ring;
pub use told::{FanOut, Tracing};
pub use verify::{Fault, FaultKind, Verified, files_of, verify, verify_file};
