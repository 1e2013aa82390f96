//! Who comes onto the shortlist.

use super::candidate::{Candidate, Candidates, Health};
use super::context::{EndpointId, RouteContext, purpose};
use super::explain::{Admission, Exclusion, NoRoute, Note, RouteSink};
use super::hash::below;
use super::shortlist::{MAX_CANDIDATES, Shortlist};
use crate::{Duration, Instant};

/// What counts of candidates whose figures are too old.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum WhenStale {
    /// They count like others: the last value stands.
    Trust,
    /// They count when there are no others.
    #[default]
    Avoid,
    /// They do not count.
    Exclude,
}

/// The first stage of every choice: who may be asked at all.
///
/// 1. **Never** in: what serves another version, is blocked for the request, has no weight, drains, is
///    full, or is reserved for higher priorities. Nothing below changes that.
/// 2. If fewer than [`panic_below`](Self::panic_below) of the rest are healthy, by weight, health does
///    not count: better to ask what looks ill than to break what is left by sending it everything. Who is
///    only full counts here, too: to be busy is no illness.
/// 3. Else [`explore`](Self::explore) of the requests go to those that are recovering, if there are
///    any, so that they can show what they are; the others go to the healthy. If none is healthy, to the
///    recovering.
/// 4. Of those, what was not heard of for [`max_age`](Self::max_age) counts as
///    [`when_stale`](Self::when_stale) says: a metrics outage must not stop all traffic.
///
/// O(candidates), 1.5 ns for each that is healthy and fit.
///
/// Sources: Envoy's panic threshold and outlier detection; llm-d's exploration of 1 %.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gate {
    /// Below which share of healthy endpoints health stops to count, in thousandths of the weight. With
    /// 0, never. From 1001 on, always.
    pub panic_below: u16,
    /// Which share of the requests explores, in thousandths.
    pub explore: u16,
    /// How old figures may be.
    pub max_age: Duration,
    /// What older ones count.
    pub when_stale: WhenStale,
}

impl Default for Gate {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Gate {
    /// Panics below half, explores with 1 % of the requests, avoids what was not heard of for 10 s.
    pub const DEFAULT: Self = Self {
        panic_below: 500,
        explore: 10,
        max_age: Duration::from_secs(10),
        when_stale: WhenStale::Avoid,
    };

    /// Only the healthy, or else the recovering; never the ejected and unreachable. Age does not count.
    pub const STRICT: Self =
        Self { panic_below: 0, explore: 0, max_age: Duration::MAX, when_stale: WhenStale::Trust };

    /// The shortlist for a request.
    ///
    /// # Errors
    /// If nobody is on it.
    pub fn admit<C: Candidates + ?Sized>(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        sink: &mut dyn RouteSink,
    ) -> Result<Shortlist, NoRoute> {
        let count = candidates.count();
        let bar = Bar::new(self, request);
        let mut healthy = Shortlist::new();
        let mut healthy_weight = 0;
        for first in (0..count.min(MAX_CANDIDATES)).step_by(64) {
            let end = count.min(first + 64);
            let (clear, weight) = match request.blocked {
                [] => bar.clear(candidates, first, end, |_| false),
                blocked => bar.clear(candidates, first, end, |id| blocked.contains(&id)),
            };
            healthy.insert_word(first / 64, clear);
            healthy_weight += weight;
        }
        if healthy.len() == count && self.panic_below <= ALL && count > 0 {
            return Ok(healthy);
        }
        let mut sorted = Sorted::new(healthy, healthy_weight);
        sorted.look_closer(&bar, candidates, sink);
        self.choose_from(sorted, request, candidates, sink)
    }

    /// The shortlist when not everyone is healthy and fit.
    #[inline(never)]
    fn choose_from<C: Candidates + ?Sized>(
        &self,
        mut sorted: Sorted,
        request: &RouteContext<'_>,
        candidates: &C,
        sink: &mut dyn RouteSink,
    ) -> Result<Shortlist, NoRoute> {
        let count = candidates.count();
        for index in MAX_CANDIDATES..count {
            sink.excluded(index, Exclusion::Beyond);
        }
        let Sorted { healthy_weight, other_weight, .. } = sorted;
        let all_weight = healthy_weight + other_weight;
        let panics = healthy_weight * 1000 < all_weight * u64::from(self.panic_below);
        let mut shortlist = if panics {
            // At most 1000.
            let share = (healthy_weight * 1000).checked_div(all_weight).unwrap_or(0) as u16;
            sink.noted(Note::Panic(share));
            sorted.healthy.join(&sorted.recovering);
            sorted.healthy.join(&sorted.ill);
            sorted.healthy.admission = Admission::Panic;
            sorted.healthy
        } else {
            for index in sorted.ill.iter() {
                let health = candidates.candidate(index).map(|candidate| candidate.health);
                let unreachable = health == Some(Health::Unreachable);
                let why = if unreachable { Exclusion::Unreachable } else { Exclusion::Ejected };
                sink.excluded(index, why);
            }
            self.healthy_or_recovering(request, &sorted.healthy, &sorted.recovering, sink)
        };
        if !sorted.stale.is_empty() {
            self.leave_out(&mut sorted.stale, &mut shortlist, sink);
        }
        match (count, shortlist.is_empty()) {
            (0, _) => Err(NoRoute::NoCandidates),
            (_, true) => Err(NoRoute::AllExcluded),
            _ => Ok(shortlist),
        }
    }

    fn healthy_or_recovering(
        &self,
        request: &RouteContext<'_>,
        healthy: &Shortlist,
        recovering: &Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Shortlist {
        if recovering.is_empty() {
            return *healthy;
        }
        if healthy.is_empty() {
            return recovering.under(Admission::LastResort);
        }
        if below(1000, request.draw(purpose::EXPLORE)) < u64::from(self.explore) {
            sink.noted(Note::Exploring);
            healthy.tell(Exclusion::NotExplored, sink);
            return recovering.under(Admission::Exploring);
        }
        recovering.tell(Exclusion::Recovering, sink);
        *healthy
    }

    /// Those that are stale, if they do not count.
    fn leave_out(
        &self,
        stale: &mut Shortlist,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) {
        stale.keep(shortlist);
        if stale.is_empty() {
            return;
        }
        if stale.len() == shortlist.len() && self.when_stale == WhenStale::Avoid {
            sink.noted(Note::AllStale);
            return;
        }
        shortlist.take_out(stale);
        stale.tell(Exclusion::Stale, sink);
    }
}

/// All the weight, in thousandths.
const ALL: u16 = 1000;

/// Whom a request may be sent to, by health.
struct Sorted {
    healthy: Shortlist,
    recovering: Shortlist,
    ill: Shortlist,
    /// Those of all three whose figures are too old.
    stale: Shortlist,
    healthy_weight: u64,
    other_weight: u64,
}

impl Sorted {
    fn new(healthy: Shortlist, healthy_weight: u64) -> Self {
        Self {
            healthy,
            recovering: Shortlist::new(),
            ill: Shortlist::new(),
            stale: Shortlist::new(),
            healthy_weight,
            other_weight: 0,
        }
    }

    /// Sorts those that did not clear the bar.
    #[inline(never)]
    fn look_closer<C: Candidates + ?Sized>(
        &mut self,
        bar: &Bar<'_>,
        candidates: &C,
        sink: &mut dyn RouteSink,
    ) {
        let others = Shortlist::first(candidates.count()).without(&self.healthy);
        for index in others.iter() {
            let Some(candidate) = candidates.candidate(index) else { break };
            let why = never(bar.request, &candidate);
            if matches!(why, None | Some(Exclusion::Full)) {
                // Who is full is well all the same.
                let weight = match candidate.health {
                    Health::Healthy => &mut self.healthy_weight,
                    _ => &mut self.other_weight,
                };
                *weight += u64::from(candidate.weight);
            }
            if let Some(why) = why {
                sink.excluded(index, why);
                continue;
            }
            let kind = match candidate.health {
                Health::Healthy => &mut self.healthy,
                Health::Recovering => &mut self.recovering,
                _ => &mut self.ill,
            };
            kind.insert(index);
            if candidate.heard_at < bar.oldest {
                self.stale.insert(index);
            }
        }
    }
}

/// What nearly every candidate clears, so that why one does not is only asked then.
struct Bar<'a> {
    request: &'a RouteContext<'a>,
    /// Which bits of a version count: all or none.
    version_bits: u32,
    version: u32,
    /// Figures from before are too old.
    oldest: Instant,
}

impl<'a> Bar<'a> {
    #[inline]
    fn new(gate: &Gate, request: &'a RouteContext<'a>) -> Self {
        let oldest = match gate.when_stale {
            WhenStale::Trust => 0,
            _ => request.now.as_nanos().saturating_sub(gate.max_age.as_nanos()),
        };
        Self {
            request,
            version_bits: if request.version.is_some() { u32::MAX } else { 0 },
            version: request.version.map_or(0, |version| version.0),
            oldest: Instant::from_nanos(oldest),
        }
    }

    /// Which of the candidates from `first` to before `end`, at most 64, clear it, as bits; and the sum
    /// of their weights.
    #[inline(always)]
    fn clear<C: Candidates + ?Sized>(
        &self,
        candidates: &C,
        first: usize,
        end: usize,
        is_blocked: impl Fn(EndpointId) -> bool,
    ) -> (u64, u64) {
        let &Self { request: &RouteContext { priority, .. }, version_bits, version, oldest } = self;
        let (mut clear, mut weights, mut bit) = (0_u64, 0_u64, 1_u64);
        for index in first..end {
            let Some(candidate) = candidates.candidate(index) else { break };
            let is_fit = candidate.weight > 0
                && candidate.health == Health::Healthy
                && candidate.outstanding < candidate.limit
                && (candidate.version.0 ^ version) & version_bits == 0
                && candidate.least_priority <= priority
                && candidate.heard_at >= oldest
                && !is_blocked(candidate.endpoint);
            if is_fit {
                clear |= bit;
                weights += u64::from(candidate.weight);
            }
            bit = bit.wrapping_shl(1);
        }
        (clear, weights)
    }
}

/// Why this candidate is none for the request, whatever its health.
#[inline(always)]
fn never(request: &RouteContext<'_>, candidate: &Candidate) -> Option<Exclusion> {
    if candidate.weight == 0 {
        Some(Exclusion::ZeroWeight)
    } else if request.version.is_some_and(|version| version != candidate.version) {
        Some(Exclusion::OtherVersion)
    } else if request.blocked.contains(&candidate.endpoint) {
        Some(Exclusion::Blocked)
    } else if candidate.health == Health::Draining {
        Some(Exclusion::Draining)
    } else if candidate.outstanding >= candidate.limit {
        Some(Exclusion::Full)
    } else if request.priority < candidate.least_priority {
        Some(Exclusion::Reserved)
    } else {
        None
    }
}
