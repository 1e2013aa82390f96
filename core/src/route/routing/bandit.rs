//! Traffic to whichever version does better.

use super::*;
use std::collections::VecDeque;

/// Requests a second.
const RATE: u64 = 100;

const TICK: Duration = Duration::from_nanos(1_000_000_000 / RATE);

/// Arms that answer a request well with some probability, in virtual time.
struct Arms {
    bandit: Bandit,
    /// How many requests later an answer comes.
    delay: usize,
    under_way: VecDeque<(usize, f64)>,
    now: Instant,
    /// Any number: it makes the random answers.
    seed: u64,
    requests: u64,
    taken: Vec<u64>,
}

impl Arms {
    fn new(arms: usize, config: BanditConfig, seed: u64) -> Self {
        let mut shares = std::vec![ALL_TRAFFIC / arms as u16; arms];
        shares[0] += ALL_TRAFFIC - shares.iter().sum::<u16>();
        Self {
            bandit: Bandit::new(&shares, config, seed).unwrap(),
            delay: 0,
            under_way: VecDeque::new(),
            now: at(0),
            seed,
            requests: 0,
            taken: std::vec![0; arms],
        }
    }

    /// So many requests, of which each arm answers as many well as its rate says. What was lost against the
    /// best rate, in expectation.
    fn run(&mut self, rates: &[f64], requests: u64) -> f64 {
        let best = rates.iter().copied().fold(0.0, f64::max);
        let mut lost = 0.0;
        for _ in 0..requests {
            self.requests += 1;
            self.now = self.now + TICK;
            let arm = self.bandit.arm(None);
            self.taken[arm] += 1;
            lost += best - rates[arm];
            let bits = stable_hash(&[self.seed, self.requests].map(u64::to_le_bytes).concat());
            let is_well = (bits >> 11) as f64 / ((1_u64 << 53) as f64) < rates[arm];
            self.under_way.push_back((arm, f64::from(u8::from(is_well))));
            while self.under_way.len() > self.delay
                && let Some((arm, reward)) = self.under_way.pop_front()
            {
                self.bandit.record(arm, reward, self.now);
            }
        }
        lost
    }

    fn share(&self, arm: usize) -> f64 {
        f64::from(self.bandit.shares()[arm]) / f64::from(ALL_TRAFFIC)
    }
}

const NEVER_FORGETS: BanditConfig =
    BanditConfig { memory: u32::MAX, floor: 1, ..BanditConfig::DEFAULT };

/// The mean over many seeds of what `of` says.
fn mean(seeds: u64, of: impl Fn(u64) -> f64) -> f64 {
    (0..seeds).map(of).sum::<f64>() / seeds as f64
}

#[test]
fn within_2000_requests_the_best_of_three_has_nearly_everything() {
    // To tell 0.9 from 0.7 by five deviations takes 250 outcomes of each.
    for delay in [0, 200] {
        let mut found = 0;
        for seed in 0..200 {
            let mut arms = Arms::new(3, BanditConfig::DEFAULT, seed);
            arms.delay = delay;
            arms.run(&[0.7, 0.9, 0.5], 2_000 + delay as u64);
            found += u64::from(arms.share(1) >= 0.9);
        }
        assert!(found >= 190, "{found} of 200 at a delay of {delay}");
    }
}

#[test]
fn what_is_lost_grows_with_the_logarithm_of_the_requests() {
    // Lai and Robbins: no rule loses less than ln T times gap over divergence, for large T.
    let rates = [0.8, 0.6];
    let divergence: f64 = 0.6 * (0.6_f64 / 0.8).ln() + 0.4 * (0.4_f64 / 0.2).ln();
    let bound = |requests: f64| requests.ln() * 0.2 / divergence;
    let lost =
        |requests: u64| mean(40, |seed| Arms::new(2, NEVER_FORGETS, seed).run(&rates, requests));
    let floor = |requests: f64| requests * 1e-4 * 0.2;
    for requests in [2_000, 20_000] {
        let lost = lost(requests) - floor(requests as f64);
        // A second's requests are divided at once, so that of the first cannot be better than evenly.
        let first = RATE as f64 * 0.1;
        assert!(lost < 3.0 * bound(requests as f64) + first, "{lost} after {requests}");
    }
    // A fixed division loses 0.1 for each, for ever.
    assert!(lost(20_000) < 0.1 * 0.1 * 20_000.0);
}

#[test]
fn a_change_of_the_best_arm_is_followed_within_two_memories() {
    let config = BanditConfig { memory: 2_000, ..BanditConfig::DEFAULT };
    let mut followed = 0;
    for seed in 0..100 {
        let mut arms = Arms::new(2, config, seed);
        arms.run(&[0.9, 0.6], 10_000);
        let before = arms.share(0);
        arms.run(&[0.5, 0.8], 4_000); // the best one breaks
        let broken = arms.share(1);
        arms.run(&[0.5, 0.3], 4_000); // the other one, too, and worse
        followed += usize::from(before > 0.9 && broken > 0.8 && arms.share(0) > 0.8);
    }
    assert!(followed >= 95, "{followed} of 100");
}

#[test]
fn an_arm_at_the_floor_that_gets_better_is_found() {
    // The leader stays as it is, so only the floor's requests can tell.
    let config = BanditConfig { memory: 5_000, floor: 200, ..BanditConfig::DEFAULT };
    let mut found = 0;
    for seed in 0..40 {
        let mut arms = Arms::new(2, config, seed);
        arms.run(&[0.8, 0.4], 10_000);
        assert!(arms.share(1) < 0.05);
        arms.run(&[0.8, 0.95], 30_000);
        found += usize::from(arms.share(1) > 0.5);
    }
    assert!(found >= 38, "{found} of 40");
}

#[test]
fn where_the_best_arm_changes_it_beats_every_fixed_division() {
    // Each is the best for a third of the time; a division that is fixed loses 0.2 for each request that
    // goes to one of the other two, which is two thirds of them however it divides.
    let worlds = [[0.9, 0.7, 0.7], [0.7, 0.9, 0.7], [0.7, 0.7, 0.9]];
    let config = BanditConfig { memory: 3_000, floor: 200, ..BanditConfig::DEFAULT };
    let lost = mean(20, |seed| {
        let mut arms = Arms::new(3, config, seed);
        (0..6).map(|turn| arms.run(&worlds[turn % 3], 20_000)).sum()
    });
    let fixed = 6.0 * 20_000.0 * 0.2 * 2.0 / 3.0;
    assert!(lost < fixed / 2.0, "{lost} against {fixed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_arm_has_its_floor_and_shares_are_everything_whatever_happens(
        arms in 1..=16_usize,
        floor in 1..=625_u16,
        (memory, least_move) in (any::<u32>(), 0..500_u16),
        outcomes in proptest::collection::vec(
            (0..18_usize, prop_oneof![4 => 0.0..=1.0, 1 => any::<f64>()], any::<u32>()), 1..400,
        ),
    ) {
        let config = BanditConfig { floor, memory, least_move, ..BanditConfig::DEFAULT };
        let mut world = Arms::new(arms, config, 1);
        for (arm, reward, later) in outcomes {
            world.now = world.now + Duration::from_nanos(later.into());
            let before = world.bandit.shares();
            let changed = world.bandit.record(arm, reward, world.now);
            let shares = world.bandit.shares();
            prop_assert_eq!(changed, shares != before);
            let moved: u16 = (0..16).map(|arm| before[arm].saturating_sub(shares[arm])).sum();
            prop_assert!(!changed || moved >= least_move);
            prop_assert_eq!(shares.iter().sum::<u16>(), ALL_TRAFFIC);
            prop_assert!(shares[..arms].iter().all(|&share| share >= floor));
            prop_assert!(shares[arms..].iter().all(|&share| share == 0));
            prop_assert!(world.bandit.arm(Some(later.into())) < arms);
        }
    }

    #[test]
    fn between_two_updates_it_is_a_split(
        (salt, keys) in any::<(u64, u64)>(), warm_up in 0..3_000_u64,
    ) {
        let mut arms = Arms::new(3, BanditConfig::DEFAULT, salt);
        arms.run(&[0.5, 0.6, 0.9], warm_up);
        let shares = arms.bandit.shares();
        let split = Split::new(&shares[..3], salt).unwrap();
        for key in 0..100 {
            let key = stable_hash(&(keys ^ key).to_le_bytes());
            prop_assert_eq!(arms.bandit.arm(Some(key)), split.arm_of(key));
        }
        let taken: Vec<_> = (0..ALL_TRAFFIC).map(|_| arms.bandit.arm(None)).collect();
        let expected: Vec<_> = shares[..3].iter().map(|&share| usize::from(share)).collect();
        prop_assert_eq!(counts(&taken, 3), expected);
    }

    #[test]
    fn shares_are_new_once_in_an_interval_at_most(
        outcomes in proptest::collection::vec((0..2_usize, any::<bool>(), 0..400_u64), 1..300),
    ) {
        let config = BanditConfig { least_move: 0, ..BanditConfig::DEFAULT };
        let bandit = Bandit::new(&[5_000, 5_000], config, 1).unwrap();
        let (mut now, mut last) = (at(0), None);
        for (arm, is_well, later) in outcomes {
            now = now + Duration::from_millis(later);
            let begun = *last.get_or_insert(now); // the first outcome begins the interval
            if bandit.record(arm, f64::from(u8::from(is_well)), now) {
                prop_assert!(now.since(begun) >= config.update_every);
                last = Some(now);
            }
        }
    }
}

#[test]
fn arms_that_do_equally_well_keep_a_part_each() {
    let kept = mean(60, |seed| {
        let mut arms = Arms::new(2, BanditConfig::DEFAULT, seed);
        arms.run(&[0.8, 0.8], 5_000);
        arms.share(0)
    });
    assert!((kept - 0.5).abs() < 0.2, "{kept}: none is preferred");
}

#[test]
fn rewards_between_failure_and_success_count_as_what_they_are() {
    let bandit = Bandit::new(&[5_000, 5_000], BanditConfig::DEFAULT, 1).unwrap();
    for number in 0..3_000 {
        let now = at(0) + Duration::from_millis(10 * number);
        let arm = bandit.arm(None);
        bandit.record(arm, if arm == 0 { 0.25 } else { 0.75 }, now);
    }
    for (arm, reward) in [(0, 0.25), (1, 0.75)] {
        let (outcomes, mean) = bandit.known(arm).unwrap();
        assert!(outcomes >= 1.0 && (mean - reward).abs() < 1e-4, "{mean}");
    }
    assert!(bandit.shares()[1] > 9_000);
}

#[test]
fn it_remembers_as_much_as_it_should() {
    let config = BanditConfig { memory: 500, ..BanditConfig::DEFAULT };
    let mut arms = Arms::new(2, config, 3);
    arms.run(&[0.9, 0.1], 5_000);
    let all: f64 = (0..2).map(|arm| arms.bandit.known(arm).unwrap().0).sum();
    assert!((all - 500.0).abs() < 1e-6, "{all}");
}

#[test]
fn what_makes_no_sense_is_dropped_and_counted() {
    let bandit = Bandit::new(&[5_000, 5_000], BanditConfig::DEFAULT, 1).unwrap();
    assert!(!bandit.record(2, 1.0, at(1)) && !bandit.record(usize::MAX, 1.0, at(1)));
    assert!(!bandit.record(0, f64::NAN, at(1)));
    assert_eq!(bandit.dropped(), 3);
    bandit.record(0, f64::INFINITY, at(2));
    bandit.record(0, f64::NEG_INFINITY, at(2_000));
    assert_eq!((bandit.dropped(), bandit.known(0)), (3, Some((2.0, 0.5))), "cut off");
    assert_eq!((bandit.known(1), bandit.known(16)), (None, None));
}

#[test]
fn a_bandit_that_cannot_be_is_refused_with_the_reason() {
    let error = |shares: &[u16], floor| {
        Bandit::new(shares, BanditConfig { floor, ..BanditConfig::DEFAULT }, 1).err()
    };
    assert_eq!(error(&[], 1), Some(BanditError::Shares(SplitError::NoArms)));
    assert_eq!(error(&[5_000, 4_000], 1), Some(BanditError::Shares(SplitError::Sum(9_000))));
    assert_eq!(error(&[5_000, 5_000], 0), Some(BanditError::Floor { floor: 0, arms: 2 }));
    assert_eq!(error(&[5_000, 5_000], 5_001), Some(BanditError::Floor { floor: 5_001, arms: 2 }));
    let below = BanditError::BelowFloor { arm: 1, share: 99, floor: 100 };
    assert_eq!(error(&[9_901, 99], 100), Some(below));
    assert_eq!(error(&[5_000, 5_000], 5_000), None);
    assert!(std::format!("{below}").contains("arm 1 begins with 99"));
}

#[test]
fn threads_record_and_choose_at_once_and_nothing_is_lost() {
    let config = BanditConfig { memory: u32::MAX, least_move: 0, ..BanditConfig::DEFAULT };
    let bandit = Bandit::new(&[5_000, 5_000], config, 1).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let bandit = &bandit;
            scope.spawn(move || {
                for number in 0..2_000 {
                    let now = at(number * 10 + thread);
                    let arm = bandit.arm(None);
                    bandit.record(arm, if arm == 1 { 1.0 } else { 0.0 }, now);
                    let shares = bandit.shares();
                    assert_eq!(shares.iter().sum::<u16>(), ALL_TRAFFIC, "all of one update");
                }
            });
        }
    });
    bandit.record(0, 0.0, at(100_000)); // puts what is left to the rest
    let all: f64 = (0..2).map(|arm| bandit.known(arm).unwrap().0).sum();
    assert_eq!(all, 8_001.0);
    assert!(bandit.shares()[1] > 9_000);
}

#[test]
fn it_is_as_small_as_it_says() {
    assert!(size_of::<Bandit>() <= 560, "{}", size_of::<Bandit>());
}
