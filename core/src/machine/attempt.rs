//! A step that somebody wants to make, and who may veto it.

use core::fmt;

use crate::{Duration, Instant};

/// A step that somebody wants an entity to make.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a, S> {
    /// Which entity.
    pub entity: &'a str,
    /// The state that it is in.
    pub from: S,
    /// The one that it is to be in.
    pub to: S,
    /// How many steps it has made.
    pub generation: u64,
    /// When it entered the state that it is in.
    pub entered: Instant,
    /// Why: in the words of whoever asks.
    pub cause: &'a str,
    /// When.
    pub now: Instant,
}

/// Who refused a step, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The validator's name, or what else stood in the way.
    pub by: &'static str,
    /// Why.
    pub reason: Reason,
}

/// Why a step was refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The table has no such edge.
    NoEdge,
    /// The entity has moved on since it was looked at.
    Moved {
        /// How many steps it has made by now.
        generation: u64,
    },
    /// Not enough of something is free.
    Resource {
        /// How much it takes.
        needed: u64,
        /// How much there is.
        available: u64,
    },
    /// Whoever asks is not allowed to.
    Clearance,
    /// Something that it depends on is not well.
    Dependency {
        /// What.
        name: &'static str,
    },
    /// Too many such steps lately.
    Rate {
        /// When one will be allowed, if nothing else takes it.
        retry_at: Instant,
    },
    /// Not at this time.
    Window {
        /// When it will be allowed.
        opens_at: Instant,
    },
    /// The validator did not come to an answer: it panicked.
    Panicked,
    /// The validator took too long for its answer to count.
    TooSlow {
        /// How long it took.
        took: Duration,
    },
    /// The step could not be written to the audit.
    Audit,
    /// Another member of the same atomic set was refused.
    Together,
    /// What a validator of one's own has to say.
    Other(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.by, self.reason)
    }
}

impl core::error::Error for Refusal {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEdge => f.write_str("no such transition"),
            Self::Moved { generation } => write!(f, "it has moved on, to step {generation}"),
            Self::Resource { needed, available } => {
                write!(f, "needs {needed}, of which {available} is free")
            }
            Self::Clearance => f.write_str("whoever asks is not allowed to"),
            Self::Dependency { name } => write!(f, "{name} is not well"),
            Self::Rate { retry_at } => {
                write!(f, "too many lately; again from {} ns on", retry_at.as_nanos())
            }
            Self::Window { opens_at } => {
                write!(f, "not at this time; from {} ns on", opens_at.as_nanos())
            }
            Self::Panicked => f.write_str("the validator panicked"),
            Self::TooSlow { took } => {
                write!(f, "the validator took {} ns, too long to count", took.as_nanos())
            }
            Self::Audit => f.write_str("it could not be written to the audit"),
            Self::Together => f.write_str("another of the same set was refused"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// Who may veto a step that the table allows.
///
/// Validators compose: a tuple asks its members in order and stops at the first refusal; a slice, an
/// array and a reference do likewise; `()` allows everything. `C` is what the caller knows beside the
/// attempt, such as who asks.
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::machine::{Attempt, JobState, Reason, Refusal, TransitionValidator};
///
/// /// Nobody resumes a job that has been paused for more than a second.
/// struct Stale;
/// impl TransitionValidator<JobState> for Stale {
///     fn validate(&self, attempt: &Attempt<'_, JobState>, _: &()) -> Result<(), Refusal> {
///         let paused = attempt.now.since(attempt.entered).as_nanos();
///         if attempt.from == JobState::Paused && paused > 1_000_000_000 {
///             return Err(Refusal { by: "stale", reason: Reason::Other("paused for too long") });
///         }
///         Ok(())
///     }
/// }
///
/// let attempt = Attempt {
///     entity: "export",
///     from: JobState::Paused,
///     to: JobState::Running,
///     generation: 2,
///     entered: Instant::ZERO,
///     cause: "resume",
///     now: Instant::from_nanos(2_000_000_000),
/// };
/// assert!(((), Stale).validate(&attempt, &()).is_err());
/// ```
pub trait TransitionValidator<S, C: ?Sized = ()> {
    /// Allows the attempt, or says who refuses it and why.
    ///
    /// # Errors
    /// With the refusal.
    fn validate(&self, attempt: &Attempt<'_, S>, context: &C) -> Result<(), Refusal>;
}

impl<S, C: ?Sized> TransitionValidator<S, C> for () {
    fn validate(&self, _: &Attempt<'_, S>, _: &C) -> Result<(), Refusal> {
        Ok(())
    }
}

impl<S, C: ?Sized, V: TransitionValidator<S, C> + ?Sized> TransitionValidator<S, C> for &V {
    fn validate(&self, attempt: &Attempt<'_, S>, context: &C) -> Result<(), Refusal> {
        (**self).validate(attempt, context)
    }
}

impl<S, C: ?Sized, V: TransitionValidator<S, C>> TransitionValidator<S, C> for [V] {
    fn validate(&self, attempt: &Attempt<'_, S>, context: &C) -> Result<(), Refusal> {
        self.iter().try_for_each(|validator| validator.validate(attempt, context))
    }
}

impl<S, C: ?Sized, V: TransitionValidator<S, C>, const N: usize> TransitionValidator<S, C>
    for [V; N]
{
    fn validate(&self, attempt: &Attempt<'_, S>, context: &C) -> Result<(), Refusal> {
        self.as_slice().validate(attempt, context)
    }
}

macro_rules! in_order {
    ($($validator:ident)+) => {
        impl<S, C: ?Sized, $($validator: TransitionValidator<S, C>),+> TransitionValidator<S, C>
            for ($($validator,)+)
        {
            fn validate(&self, attempt: &Attempt<'_, S>, context: &C) -> Result<(), Refusal> {
                #[allow(non_snake_case)] // the types' names, once more
                let ($($validator,)+) = self;
                $( $validator.validate(attempt, context)?; )+
                Ok(())
            }
        }
    };
}
in_order!(A);
in_order!(A B);
in_order!(A B D);
in_order!(A B D E);
in_order!(A B D E F);
in_order!(A B D E F G);
