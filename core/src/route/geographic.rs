//! Near ones first.

use super::candidate::{Candidate, Candidates, Health};
use super::context::{Place, RouteContext, Tier, purpose};
use super::explain::{Exclusion, NoRoute, Note, RouteSink};
use super::hash::below;
use super::{Filter, MAX_CANDIDATES, Shortlist};

/// Sends a request to the nearest tier, and so much of the traffic further as the near ones cannot
/// carry.
///
/// A tier carries `overprovision` times the share of its weight that is on the shortlist, at most all:
/// with 1400, a tier that lost up to 28 % of its endpoints, to ill health or because they are full,
/// still takes all its traffic; with half of them left it takes 70 %, and the rest overflows to the next
/// tier, by the same rule. If all tiers together cannot carry everything, each gets its part of what
/// they can. Which request overflows follows from its random bits.
///
/// A request from an unknown place has one tier, [`Tier::Elsewhere`].
///
/// O(candidates). Source: Envoy's priority levels and overprovisioning factor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geographic {
    /// How much more than its share an endpoint can carry, in thousandths. Below 1000 counts as 1000.
    pub overprovision: u32,
}

impl Default for Geographic {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Geographic {
    /// 1.4, as in Envoy.
    pub const DEFAULT: Self = Self { overprovision: 1400 };

    /// How much of the traffic a tier can carry of which this weight is left and this is lost.
    #[inline]
    fn part(&self, left: u64, lost: u64) -> u64 {
        let factor = u64::from(self.overprovision.max(1000));
        let part = left as u128 * u128::from(factor) * u128::from(CAPACITY / 1000);
        // At most the capacity, so it fits.
        part.checked_div(u128::from(left + lost)).unwrap_or(0).min(CAPACITY.into()) as u64
    }
}

/// All the traffic: a tier's part is a share of this.
const CAPACITY: u64 = 1_000_000;

impl<C: Candidates + ?Sized> Filter<C> for Geographic {
    fn narrow(
        &self,
        request: &RouteContext<'_>,
        candidates: &C,
        shortlist: &mut Shortlist,
        sink: &mut dyn RouteSink,
    ) -> Result<(), NoRoute> {
        if shortlist.is_empty() {
            return Err(NoRoute::AllExcluded);
        }
        let tiers = Tiers::new(request.place, candidates);
        let (mut carried, mut remaining) = ([0_u64; Tier::ALL.len()], CAPACITY);
        for (tier, carried) in Tier::ALL.into_iter().zip(&mut carried) {
            let members = tiers.members(tier);
            let lost = members.without(shortlist);
            let left = members.without(&lost);
            if left.is_empty() {
                continue;
            }
            // Mostly none is lost, and weights need not be looked at.
            let part = if lost.is_empty() {
                CAPACITY
            } else {
                let whole = |candidate: &Candidate| is_part_of_the_whole(request, candidate);
                self.part(weight(candidates, &left, |_| true), weight(candidates, &lost, whole))
            };
            // Someone is left, so something can be sent there.
            *carried = part.max(1).min(remaining);
            remaining -= *carried;
            if remaining == 0 {
                break;
            }
        }
        let mut point = below(CAPACITY - remaining, request.draw(purpose::TIER));
        let mut chosen = Tier::Elsewhere;
        for (tier, carried) in Tier::ALL.into_iter().zip(carried) {
            if point < carried {
                chosen = tier;
                break;
            }
            point -= carried;
        }
        sink.noted(Note::Tier(chosen));
        if sink.wants_exclusions() {
            for tier in Tier::ALL.into_iter().filter(|&tier| tier != chosen) {
                let mut others = tiers.members(tier);
                others.keep(shortlist);
                others.tell(Exclusion::OtherTier(tier), sink);
            }
        }
        shortlist.keep(&tiers.members(chosen));
        Ok(())
    }
}

/// How near the candidates are: those that share one part with the request's place, two, three, and four.
struct Tiers {
    all: Shortlist,
    sharing: [Shortlist; 4],
}

impl Tiers {
    #[inline]
    fn new<C: Candidates + ?Sized>(place: Place, candidates: &C) -> Self {
        let count = candidates.count().min(MAX_CANDIDATES);
        let mut tiers = Self { all: Shortlist::first(count), sharing: [Shortlist::new(); 4] };
        let known = place.known() as usize;
        for first in (0..count).step_by(64) {
            let (mut words, mut bit) = ([0_u64; 4], 1_u64);
            for index in first..count.min(first + 64) {
                let Some(other) = candidates.place(index) else { break };
                let shares = place.shares(other);
                for (word, shares) in words.iter_mut().zip(shares) {
                    *word |= if shares { bit } else { 0 };
                }
                bit = bit.wrapping_shl(1);
            }
            for (sharing, word) in tiers.sharing.iter_mut().zip(words).take(known) {
                sharing.insert_word(first / 64, word);
            }
        }
        tiers
    }

    fn members(&self, tier: Tier) -> Shortlist {
        let [region, zone, rack, host] = &self.sharing;
        match tier {
            Tier::Host => *host,
            Tier::Rack => rack.without(host),
            Tier::Zone => zone.without(rack),
            Tier::Region => region.without(zone),
            Tier::Elsewhere => self.all.without(region),
        }
    }
}

/// The weight of those on a list that count.
fn weight<C: Candidates + ?Sized>(
    candidates: &C,
    list: &Shortlist,
    counts: impl Fn(&Candidate) -> bool,
) -> u64 {
    let mut sum = 0;
    list.for_each(|index| {
        let candidate = candidates.candidate(index).filter(|candidate| counts(candidate));
        sum += candidate.map_or(0, |candidate| u64::from(candidate.effective_weight()));
    });
    sum
}

/// Whether it would serve the request if it were well and had room.
#[inline(always)]
fn is_part_of_the_whole(request: &RouteContext<'_>, candidate: &Candidate) -> bool {
    candidate.weight > 0
        && candidate.health != Health::Draining
        && request.version.is_none_or(|version| version == candidate.version)
}
