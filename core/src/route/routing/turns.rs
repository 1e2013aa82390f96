//! Policies that give each its turn.

use super::*;

/// nginx's algorithm over plain numbers; and what is further away than 16 rounds is cut.
struct Nginx(Vec<i64>);

impl Nginx {
    fn next(&mut self, weights: &[(usize, i64)]) -> usize {
        let mut best: Option<usize> = None;
        for &(index, weight) in weights {
            self.0[index] += weight;
            if best.is_none_or(|best| self.0[index] > self.0[best]) {
                best = Some(index);
            }
        }
        let best = best.unwrap();
        let most = 16 * weights.iter().map(|&(_, weight)| weight).sum::<i64>();
        let cuts = weights.iter().any(|&(index, _)| self.0[index].abs() > most);
        self.0[best] -= most / 16;
        if cuts {
            weights.iter().for_each(|&(index, _)| self.0[index] = self.0[index].clamp(-most, most));
        }
        best
    }
}

proptest! {
    #[test]
    fn round_robin_gives_each_one_turn_in_a_round(count in 1..200_usize, start in 0..50_u64) {
        let (policy, candidates) = (RoundRobin::new(), equals(count));
        chosen(&policy, &candidates, start);
        let mut round = chosen(&policy, &candidates, count as u64);
        round.sort_unstable();
        prop_assert_eq!(round, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn round_robin_stays_fair_while_some_are_away(
        away in proptest::collection::vec(any::<bool>(), 2..20),
    ) {
        let mut candidates = equals(away.len());
        for (candidate, &away) in candidates.iter_mut().zip(&away) {
            candidate.health = if away { Health::Ejected } else { Health::Healthy };
        }
        let here = away.iter().filter(|&&away| !away).count();
        prop_assume!(here > 0);
        let policy = RoundRobin::new();
        let rounds = counts(&chosen(&policy, &candidates, 3 * here as u64), away.len());
        for (count, away) in rounds.into_iter().zip(away) {
            prop_assert_eq!(count, if away { 0 } else { 3 });
        }
    }

    #[test]
    fn smooth_weighted_holds_each_exactly_by_weight_in_every_cycle(
        weights in proptest::collection::vec(1..=40_u16, 1..20),
    ) {
        let (policy, candidates) = (SmoothWeighted::<64>::new(), weighted(&weights));
        let cycle: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let expected: Vec<_> = weights.iter().map(|&weight| usize::from(weight)).collect();
        for _ in 0..3 {
            let cycle = chosen(&policy, &candidates, cycle);
            prop_assert_eq!(&counts(&cycle, weights.len()), &expected);
        }
    }

    #[test]
    fn smooth_weighted_is_never_far_from_what_is_due(
        weights in proptest::collection::vec(1..=40_u16, 1..20),
    ) {
        // At every moment each has what is due by its weight, to within two turns: so there is no burst.
        let (policy, candidates) = (SmoothWeighted::<64>::new(), weighted(&weights));
        let cycle: u32 = weights.iter().map(|&weight| u32::from(weight)).sum();
        let mut counts = std::vec![0_u32; weights.len()];
        for (turn, index) in (1..).zip(chosen(&policy, &candidates, cycle.into())) {
            counts[index] += 1;
            for (&count, &weight) in counts.iter().zip(&weights) {
                let due = f64::from(turn) * f64::from(weight) / f64::from(cycle);
                prop_assert!((f64::from(count) - due).abs() < 2.0);
            }
        }
    }

    #[test]
    fn smooth_weighted_is_nginx_while_endpoints_come_and_go(
        weights in proptest::collection::vec(1..=40_u16, 2..10),
        steps in proptest::collection::vec((any::<usize>(), 1..30_u64), 1..20),
    ) {
        let (policy, mut candidates) = (SmoothWeighted::<64>::new(), weighted(&weights));
        let mut model = Nginx(std::vec![0; weights.len()]);
        for (toggled, times) in steps {
            let toggled = &mut candidates[toggled % weights.len()].health;
            *toggled = if *toggled == Health::Healthy { Health::Ejected } else { Health::Healthy };
            let here: Vec<_> = (0..weights.len())
                .filter(|&index| candidates[index].health == Health::Healthy)
                .map(|index| (index, i64::from(weights[index])))
                .collect();
            if here.is_empty() {
                continue;
            }
            for index in chosen(&policy, &candidates, times) {
                prop_assert_eq!(index, model.next(&here));
            }
        }
    }
}

#[test]
fn who_was_away_for_long_comes_back_without_a_burst() {
    let (policy, mut candidates) = (SmoothWeighted::<64>::new(), equals(4));
    candidates[0].health = Health::Ejected;
    chosen(&policy, &candidates, 1_000);
    candidates[0].health = Health::Healthy;
    for round in chosen(&policy, &candidates, 40).chunks(4) {
        assert!(round.iter().filter(|&&index| index == 0).count() <= 2, "{round:?}");
    }
}

#[test]
fn other_weights_count_at_once() {
    // What it owed under weights a thousand times as large must not keep it away for a thousand rounds.
    let policy = SmoothWeighted::<64>::new();
    chosen(&policy, &weighted(&[60_000, 59_000]), 1);
    let small = weighted(&[1, 1]);
    chosen(&policy, &small, 100); // 16 rounds and what they are worth
    assert_eq!(counts(&chosen(&policy, &small, 100), 2), [50, 50]);
}

#[test]
fn a_slow_start_counts_in_the_weight() {
    let (policy, mut candidates) = (SmoothWeighted::<64>::new(), weighted(&[10, 10]));
    candidates[0].ramp = 100;
    assert_eq!(counts(&chosen(&policy, &candidates, 1_100), 2), [100, 1_000]);
    candidates[0].ramp = 0; // who starts slowly starts
    assert!(counts(&chosen(&policy, &candidates, 2_002), 2)[0] >= 1);
}

#[test]
fn a_random_draw_goes_by_weight() {
    let counts = counts(&chosen(&WeightedRandom, &weighted(&[1, 0, 3, 6]), 20_000), 4);
    for (count, share) in counts.into_iter().zip([0.1, 0.0, 0.3, 0.6]) {
        assert!(is_near(count, 20_000, share));
    }
}
