//! What a request brings to the choice of its endpoint.

use super::hash::mix;
use crate::Instant;
use crate::batch::ModelId;

/// An endpoint: one place where a version of a model runs.
///
/// Make it from the endpoint's name with [`stable_hash`](super::stable_hash): consistent hashing goes
/// by this number, so it must be the same in every process and after every restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndpointId(pub u64);

/// A named value of a request: a header, a parameter, a feature flag; as hashes of name and value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Annotation {
    /// The [hash](super::stable_hash) of its name.
    pub name: u64,
    /// The [hash](super::stable_hash) of its value.
    pub value: u64,
}

/// Where something is, as numbers of the caller's choice; 0 says that it is not known.
///
/// A zone's number has a meaning within its region only, a rack's within its zone, and so on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Place {
    /// A region: its members are milliseconds apart.
    pub region: u16,
    /// A zone of the region.
    pub zone: u16,
    /// A rack of the zone.
    pub rack: u16,
    /// A machine in the rack.
    pub host: u16,
}

/// How near two places are. The nearer one is the smaller one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Tier {
    /// On the same machine.
    Host,
    /// In the same rack.
    Rack,
    /// In the same zone.
    Zone,
    /// In the same region.
    Region,
    /// In another region, or it is not known where.
    Elsewhere,
}

impl Tier {
    /// All of them, the nearest first; each stands at the place of its value (`tier as usize`).
    pub const ALL: [Self; 5] = [Self::Host, Self::Rack, Self::Zone, Self::Region, Self::Elsewhere];
}

impl Place {
    /// Not known.
    pub const UNKNOWN: Self = Self { region: 0, zone: 0, rack: 0, host: 0 };

    /// How near the other place is.
    ///
    /// ```
    /// use tensorforge_core::route::{Place, Tier};
    ///
    /// let here = Place { region: 1, zone: 2, rack: 3, host: 4 };
    /// assert_eq!(here.tier(Place { host: 9, ..here }), Tier::Rack);
    /// // Rack 3 of another zone is another rack.
    /// assert_eq!(here.tier(Place { zone: 7, ..here }), Tier::Region);
    /// assert_eq!(here.tier(Place::UNKNOWN), Tier::Elsewhere);
    /// ```
    #[inline(always)]
    #[must_use]
    pub const fn tier(self, other: Self) -> Tier {
        match self.shared_parts(other) {
            0 => Tier::Elsewhere,
            1 => Tier::Region,
            2 => Tier::Zone,
            3 => Tier::Rack,
            _ => Tier::Host,
        }
    }

    /// How many parts, from the region down, are equal, and known: 0 to 4.
    const fn shared_parts(self, other: Self) -> u32 {
        let [region, zone, rack, host] = self.shares(other);
        let equal = region as u32 + zone as u32 + rack as u32 + host as u32;
        if equal < self.known() { equal } else { self.known() }
    }

    /// Whether the region is equal; the region and the zone; those and the rack; everything.
    #[inline(always)]
    pub(super) const fn shares(self, other: Self) -> [bool; 4] {
        let differs = self.number() ^ other.number();
        // The region stands lowest.
        [differs << 48 == 0, differs << 32 == 0, differs << 16 == 0, differs == 0]
    }

    /// All parts, as they lie in memory of a little-endian machine: one read there.
    const fn number(self) -> u64 {
        let [region, zone] = [self.region as u64, self.zone as u64];
        region | zone << 16 | (self.rack as u64) << 32 | (self.host as u64) << 48
    }

    /// How many parts are known, up to the first that is not.
    pub(super) const fn known(self) -> u32 {
        match self {
            Self { region: 0, .. } => 0,
            Self { zone: 0, .. } => 1,
            Self { rack: 0, .. } => 2,
            Self { host: 0, .. } => 3,
            _ => 4,
        }
    }
}

/// A request, as far as routing goes by it.
///
/// ```
/// use tensorforge_core::Instant;
/// use tensorforge_core::batch::ModelId;
/// use tensorforge_core::route::{RouteContext, stable_hash};
///
/// let request = RouteContext {
///     version: Some(ModelId(7)),
///     sticky: Some(stable_hash(b"user-4711")),
///     ..RouteContext::new(Instant::ZERO, 0x5eed)
/// };
/// assert_eq!(request.priority, 0);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteContext<'a> {
    /// Now.
    pub now: Instant,
    /// 64 random bits of this request's own. All that is random in its route follows from them.
    pub random: u64,
    /// The version of the model that it is for; `None` where any candidate's will do.
    pub version: Option<ModelId>,
    /// The [hash](super::stable_hash) of the label that it names (`stable`, `canary` …).
    pub label: Option<u64>,
    /// Its priority; higher goes first.
    pub priority: u8,
    /// The [hash](super::stable_hash) of its tenant's name; 0 for none.
    pub tenant: u64,
    /// Where it comes from.
    pub place: Place,
    /// What it is annotated with.
    pub annotations: &'a [Annotation],
    /// When its answer is of no use any more.
    pub deadline: Option<Instant>,
    /// The [hash](super::stable_hash) of what is to stay together: a user, a session, a prefix.
    pub sticky: Option<u64>,
    /// Endpoints that it must not go to: those that have failed it already.
    pub blocked: &'a [EndpointId],
}

impl RouteContext<'_> {
    /// A request that asks for nothing in particular.
    #[must_use]
    pub const fn new(now: Instant, random: u64) -> Self {
        Self {
            now,
            random,
            version: None,
            label: None,
            priority: 0,
            tenant: 0,
            place: Place::UNKNOWN,
            annotations: &[],
            deadline: None,
            sticky: None,
            blocked: &[],
        }
    }

    /// The value of the annotation of this name; the first one's, if there are several.
    #[must_use]
    pub fn annotation(&self, name: u64) -> Option<u64> {
        self.annotations.iter().find(|annotation| annotation.name == name).map(|found| found.value)
    }

    /// Random bits for one of several decisions about this request: independent for each `purpose`,
    /// always the same for the same one. Purposes below 16 are taken by this module.
    #[inline]
    #[must_use]
    pub const fn draw(&self, purpose: u64) -> u64 {
        mix(self.random ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }
}

/// What this module draws random bits for.
pub(super) mod purpose {
    pub(crate) const EXPLORE: u64 = 1;
    pub(crate) const TWO_CHOICES: u64 = 2;
    pub(crate) const TIER: u64 = 3;
    pub(crate) const WEIGHTED: u64 = 4;
    pub(crate) const KEY: u64 = 5;
    pub(crate) const TIE: u64 = 6;
}
