//! What was chosen and why, and why not the others.

use super::context::{EndpointId, Tier};

/// Which endpoint, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Its place among the candidates.
    pub index: usize,
    /// Which it is.
    pub endpoint: EndpointId,
    /// Why it and not another of those that were left.
    pub reason: Reason,
    /// Under which rule it could be chosen at all.
    pub admission: Admission,
}

/// Why one of those that were left was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// No other was left.
    Only,
    /// It is its turn.
    NextInTurn,
    /// It is owed the most, by its weight.
    MostOwed,
    /// A random draw by weight fell on it.
    Drawn,
    /// It costs less than the other of two that were drawn.
    CheaperOfTwo,
    /// It costs the least of all.
    Cheapest,
    /// The request's key belongs to it.
    KeyOwner,
    /// The key belongs to one that has its full share of the load already; it comes next.
    KeyOverflow,
    /// Of those that have the model loaded and room, the key falls to it.
    Loaded,
    /// None that has room has the model loaded; the key falls to it.
    ColdLoad,
}

/// Under which rule candidates came in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Admission {
    /// They are healthy.
    #[default]
    Healthy,
    /// They are recovering, and this request explores them.
    Exploring,
    /// They are recovering, and none is healthy.
    LastResort,
    /// So few are healthy that health does not count.
    Panic,
}

/// Why a candidate was not left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Exclusion {
    /// It serves another version than the one that the request is for.
    OtherVersion,
    /// The request must not go there.
    Blocked,
    /// Its weight is 0.
    ZeroWeight,
    /// It takes nothing more.
    Draining,
    /// It has as many requests as it may have.
    Full,
    /// It is for requests of a higher priority.
    Reserved,
    /// What room it has left is kept for requests of a higher priority.
    KeptFree,
    /// Too many calls to it failed.
    Ejected,
    /// It does not answer probes.
    Unreachable,
    /// It is recovering, and this request is none that explores.
    Recovering,
    /// This request explores those that recover.
    NotExplored,
    /// Its figures are too old.
    Stale,
    /// It is not in the tier that the request goes to.
    OtherTier(Tier),
    /// A rule sends the request elsewhere.
    Rule(u16),
    /// It is expected to answer after the deadline.
    WouldMissDeadline,
    /// It stands behind the first [`MAX_CANDIDATES`](super::MAX_CANDIDATES), or behind those for which
    /// the policy has room.
    Beyond,
}

/// What else there is to say of a choice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Note {
    /// Only so many thousandths of the candidates, by weight, are healthy: health does not count.
    Panic(u16),
    /// This request explores what recovers.
    Exploring,
    /// All figures are too old; they count all the same.
    AllStale,
    /// The request goes to this tier.
    Tier(Tier),
    /// The rule at this place holds for the request.
    Rule(u16),
    /// The rule at this place holds, but nothing that it allows was left; it was passed over.
    RuleWithoutEffect(u16),
    /// No candidate is expected to answer in time; all were kept.
    AllWouldMissDeadline,
}

/// There is no endpoint for the request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum NoRoute {
    /// There were no candidates.
    NoCandidates,
    /// Each of them was excluded; the sink was told why.
    AllExcluded,
    /// The rule at this place refuses the request.
    Refused(u16),
}

impl core::fmt::Display for NoRoute {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoCandidates => f.write_str("the route has no endpoints"),
            Self::AllExcluded => f.write_str("every endpoint of the route is excluded"),
            Self::Refused(rule) => write!(f, "rule {rule} refuses the request"),
        }
    }
}

impl core::error::Error for NoRoute {}

/// Is told what a choice goes by, so that it can be shown. `()` listens to nothing.
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::batch::ModelId;
/// use tensorforge_core::route::{
///     Candidate, EndpointId, Exclusion, Health, RoundRobin, RouteContext, RouteSink, RoutingPolicy,
/// };
///
/// #[derive(Default)]
/// struct Told(Vec<(usize, Exclusion)>);
/// impl RouteSink for Told {
///     fn excluded(&mut self, index: usize, why: Exclusion) {
///         self.0.push((index, why));
///     }
/// }
///
/// let fit = Candidate::new(EndpointId(1), ModelId(7));
/// let candidates = [Candidate { health: Health::Ejected, ..fit }, fit];
/// let mut told = Told::default();
/// let request = RouteContext::new(Instant::ZERO, 1);
/// let choice = RoundRobin::new().choose(&request, &candidates[..], &mut told).unwrap();
/// assert_eq!((choice.index, told.0), (1, vec![(0, Exclusion::Ejected)]));
/// ```
pub trait RouteSink {
    /// Whether it wants to know who was excluded. If not, it need not be told, which takes time.
    fn wants_exclusions(&self) -> bool {
        true
    }

    /// The candidate at `index` was taken out. Told once for each that is.
    fn excluded(&mut self, index: usize, why: Exclusion) {
        let _ = (index, why);
    }

    /// The candidate at `index` was found to cost so much, in units of the policy's cost.
    fn costed(&mut self, index: usize, cost: u64) {
        let _ = (index, cost);
    }

    /// Something about the whole choice.
    fn noted(&mut self, note: Note) {
        let _ = note;
    }
}

impl RouteSink for () {
    fn wants_exclusions(&self) -> bool {
        false
    }
}

macro_rules! named {
    ($type:ident: $($variant:ident $(($field:tt))? => $name:literal),* $(,)?) => {
        impl $type {
            /// The names of all of them.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Where its name stands in [`NAMES`](Self::NAMES): a place in a table of counters.
            #[must_use]
            pub const fn place(self) -> usize {
                enum Place {
                    $($variant,)*
                }
                match self {
                    $(Self::$variant $(($field))? => Place::$variant as usize,)*
                }
            }

            /// Its name in annotations and explanations, in `snake_case`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant $(($field))? => $name,)*
                }
            }
        }
    };
}

named!(Reason:
    Only => "only",
    NextInTurn => "next_in_turn",
    MostOwed => "most_owed",
    Drawn => "drawn",
    CheaperOfTwo => "cheaper_of_two",
    Cheapest => "cheapest",
    KeyOwner => "key_owner",
    KeyOverflow => "key_overflow",
    Loaded => "loaded",
    ColdLoad => "cold_load",
);
named!(Admission:
    Healthy => "healthy",
    Exploring => "exploring",
    LastResort => "last_resort",
    Panic => "panic",
);
named!(Exclusion:
    OtherVersion => "other_version",
    Blocked => "blocked",
    ZeroWeight => "zero_weight",
    Draining => "draining",
    Full => "full",
    Reserved => "reserved",
    KeptFree => "kept_free",
    Ejected => "ejected",
    Unreachable => "unreachable",
    Recovering => "recovering",
    NotExplored => "not_explored",
    Stale => "stale",
    OtherTier(_) => "other_tier",
    Rule(_) => "rule",
    WouldMissDeadline => "would_miss_deadline",
    Beyond => "beyond",
);
named!(Tier:
    Host => "host",
    Rack => "rack",
    Zone => "zone",
    Region => "region",
    Elsewhere => "elsewhere",
);
