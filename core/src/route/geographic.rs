//! Near ones first.

use super::candidate::{Candidate, Candidates, Health};
use super::context::{RouteContext, Tier, purpose};
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

    /// The tier for the request, from the weight that each has in all and that is left of it.
    fn tier(&self, all: [u64; 5], left: [u64; 5], random: u64) -> Tier {
        let factor = u64::from(self.overprovision.max(1000));
        let mut carried = [0_u64; 5];
        let mut remaining = CAPACITY;
        for (carried, (&all, &left)) in carried.iter_mut().zip(all.iter().zip(&left)) {
            let part = left as u128 * u128::from(factor) * u128::from(CAPACITY / 1000);
            // At most the capacity, so it fits.
            let part = part.checked_div(all.into()).unwrap_or(0).min(remaining.into()) as u64;
            // Something is left, so something can be sent there.
            *carried = if left > 0 { part.max(u64::from(remaining > 0)) } else { 0 };
            remaining -= *carried;
        }
        let mut point = below(CAPACITY - remaining, random);
        for (tier, carried) in Tier::ALL.into_iter().zip(carried) {
            if point < carried {
                return tier;
            }
            point -= carried;
        }
        Tier::Elsewhere
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
        let (mut all, mut left) = ([0_u64; 5], [0_u64; 5]);
        let mut members = [Shortlist::new(); 5];
        for index in 0..candidates.count().min(MAX_CANDIDATES) {
            let Some(candidate) = candidates.candidate(index) else { break };
            if !is_part_of_the_whole(request, &candidate) {
                continue;
            }
            // The tier's number, without the branches of `tier`.
            let tier = 4 - request.place.shared_parts(candidate.place) as usize;
            let weight = u64::from(candidate.effective_weight());
            let (Some(all), Some(left)) = (all.get_mut(tier), left.get_mut(tier)) else { continue };
            *all += weight;
            if shortlist.contains(index) {
                *left += weight;
                if let Some(members) = members.get_mut(tier) {
                    members.insert(index);
                }
            }
        }
        if shortlist.is_empty() {
            return Err(NoRoute::AllExcluded);
        }
        let chosen = self.tier(all, left, request.draw(purpose::TIER));
        sink.noted(Note::Tier(chosen));
        for (tier, members) in Tier::ALL.into_iter().zip(&members) {
            if tier == chosen {
                shortlist.keep(members);
            } else {
                members.iter().for_each(|index| sink.excluded(index, Exclusion::OtherTier(tier)));
            }
        }
        Ok(())
    }
}

/// Whether it would serve the request if it were well and had room.
#[inline(always)]
fn is_part_of_the_whole(request: &RouteContext<'_>, candidate: &Candidate) -> bool {
    candidate.weight > 0
        && candidate.health != Health::Draining
        && request.version.is_none_or(|version| version == candidate.version)
}
