//! Policies against the rules, stated plainly.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{Duration, Instant};

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// The rules of the ladder, over plain numbers.
struct Plain {
    level: usize,
    failures: u32,
    successes: u32,
    changed: Option<u64>,
}

impl Plain {
    fn step(
        &mut self,
        failed: bool,
        now: u64,
        burst: u32,
        cooldown: u64,
    ) -> Option<(usize, usize)> {
        let from = self.level;
        if failed {
            (self.failures, self.successes) = (self.failures + 1, 0);
            let wait = cooldown * [1, 2, 4, 8][from];
            let cool = self.changed.is_none_or(|then| now >= then + wait);
            if self.failures >= burst && cool && from < 3 {
                self.level += 1;
            }
        } else {
            (self.failures, self.successes) = (0, self.successes + 1);
            if from > 0 && self.successes >= [0, 5, 7, 10][from] {
                self.level -= 1;
            }
        }
        if self.level == from {
            return None;
        }
        (self.failures, self.successes, self.changed) = (0, 0, Some(now));
        Some((from, self.level))
    }
}

proptest! {
    #[test]
    fn the_ladder_follows_its_rules(
        steps in prop::collection::vec((prop::bool::weighted(0.4), 1_u64..2_000), 0..300),
        burst in 1_u16..5,
        cooldown in prop_oneof![Just(0_u64), 1_u64..5_000],
    ) {
        let ladder = Ladder::new(LadderConfig { burst, cooldown: Duration::from_millis(cooldown) });
        let mut plain = Plain { level: 0, failures: 0, successes: 0, changed: None };
        let mut now = 1;
        for (failed, passed) in steps {
            now += passed;
            // The ladder counts time in half milliseconds, rounded up: keep clear of the very moment.
            let told = if failed { ladder.record_failure(at(now)) } else { ladder.record_success(at(now)) };
            let beside = plain.changed.is_some_and(|then| {
                (then + cooldown * [1, 2, 4, 8][plain.level]).abs_diff(now) <= 1
            });
            if beside && cooldown > 0 && failed {
                return Ok(());
            }
            let expected = plain.step(failed, now, burst.into(), cooldown);
            prop_assert_eq!(told.map(|change| (change.from as usize, change.to as usize)), expected);
            prop_assert_eq!(ladder.level() as usize, plain.level);
        }
    }

    #[test]
    fn retries_are_at_most_their_share(
        steps in prop::collection::vec(any::<bool>(), 0..400),
        per_mille in 0_u32..1500,
        most in 0_u32..5,
    ) {
        let budget = RetryBudget::new(per_mille, most, 0).unwrap();
        let (mut saved, mut granted, mut requests) = (0, 0, 0);
        for retry in steps {
            if retry {
                let may = saved >= 1000;
                prop_assert_eq!(budget.try_retry(at(0)), may);
                saved -= if may { 1000 } else { 0 };
                granted += u64::from(may);
            } else {
                budget.record_request();
                requests += 1;
                saved = (saved + u64::from(per_mille)).min(1000 * u64::from(most));
            }
            prop_assert_eq!(budget.saved_per_mille(), saved);
            prop_assert!(1000 * granted <= u64::from(per_mille) * requests);
        }
    }
}

#[test]
fn levels_are_ordered_and_named() {
    let names = Level::ALL.map(Level::name);
    assert_eq!(names, ["normal", "watch", "restricted", "halted"]);
    assert!(Level::ALL.windows(2).all(|two| two[0] < two[1] && two[0].up() == two[1]));
    assert!(Level::ALL.windows(2).all(|two| two[1].down() == two[0]));
    assert_eq!((Level::Normal.down(), Level::Halted.up()), (Level::Normal, Level::Halted));
    assert_eq!(Level::ALL.map(Level::max_retries), [3, 2, 1, 0]);
    assert_eq!(Level::ALL.map(Level::cooldown_multiplier), [1, 2, 4, 8]);
    assert_eq!(Level::ALL.map(|level| Level::from_name(level.name())), Level::ALL.map(Some));
    assert_eq!(Level::from_name("Normal"), None);
}

#[test]
fn a_success_ends_a_burst_and_a_failure_a_streak() {
    let ladder = Ladder::new(LadderConfig::default());
    for _ in 0..10 {
        assert_eq!(ladder.record_failure(at(1)), None);
        assert_eq!(ladder.record_success(at(1)), None);
    }
    ladder.record_failure(at(1));
    assert_eq!(ladder.record_failure(at(1)).map(|change| change.run), Some(2));
    for _ in 0..10 {
        (0..4).for_each(|_| assert_eq!(ladder.record_success(at(2)), None));
        assert_eq!(ladder.record_failure(at(2)), None);
    }
    (0..4).for_each(|_| assert_eq!(ladder.record_success(at(3)), None));
    assert_eq!(ladder.record_success(at(3)).map(|change| change.to), Some(Level::Normal));
}

#[test]
fn clocks_that_step_back_and_settings_at_their_ends_do_no_harm() {
    let ladder = Ladder::new(LadderConfig { burst: 0, cooldown: Duration::MAX });
    assert_eq!(ladder.record_failure(Instant::MAX).map(|change| change.to), Some(Level::Watch));
    for now in [Instant::ZERO, at(5), Instant::MAX] {
        assert_eq!(ladder.record_failure(now), None, "the cooldown is longer than time");
    }
    (0..100_000).for_each(|_| assert_eq!(ladder.record_failure(at(0)), None));
    (0..4).for_each(|_| assert_eq!(ladder.record_success(at(0)), None));
    assert_eq!(ladder.record_success(at(0)).map(|change| change.to), Some(Level::Normal));
    assert_eq!(ladder.reset(at(0)), None);
    assert_eq!(size_of::<Ladder>(), 24);
}

#[test]
fn threads_together_step_up_once_for_each_burst() {
    let ladder = Ladder::new(LadderConfig { burst: 100, cooldown: Duration::ZERO });
    let changes: Vec<Change> = std::thread::scope(|scope| {
        let fail = || (0..50).filter_map(|_| ladder.record_failure(at(1))).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(fail)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut steps: Vec<_> = changes.iter().map(|change| (change.from, change.to)).collect();
    steps.sort();
    assert_eq!(steps, [(Level::Normal, Level::Watch), (Level::Watch, Level::Restricted)]);
}

#[test]
fn the_steady_rate_lets_some_through_besides() {
    let budget = RetryBudget::new(0, 0, 2).unwrap();
    assert_eq!([(); 3].map(|()| budget.try_retry(at(0))), [true, true, false]);
    assert!(budget.try_retry(at(600)) && !budget.try_retry(at(600)));
    assert!(RetryBudget::new(1000, 1, u32::MAX).is_err());
}

#[test]
fn a_bulkhead_holds_no_more_than_its_limit() {
    let bulkhead = Bulkhead::new(3);
    let most = core::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    if let Some(permit) = bulkhead.try_enter() {
                        most.fetch_max(bulkhead.in_use(), core::sync::atomic::Ordering::Relaxed);
                        drop(permit);
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!((bulkhead.in_use(), bulkhead.limit()), (0, 3));
    let held: Vec<_> = (0..3).map(|_| bulkhead.try_enter().unwrap()).collect();
    bulkhead.set_limit(1);
    assert!(bulkhead.try_enter().is_none());
    drop(held);
    assert!(bulkhead.try_enter().is_some());
    assert!(Bulkhead::new(0).try_enter().is_none());
}

#[test]
fn a_change_at_the_very_beginning_has_its_cooldown_too() {
    let config = LadderConfig { burst: 1, cooldown: Duration::from_secs(1) };
    let ladder = Ladder::new(config);
    assert_eq!(ladder.record_failure(Instant::ZERO).map(|change| change.to), Some(Level::Watch));
    assert_eq!(ladder.record_failure(Instant::from_nanos(1)), None);
    let later = ladder.record_failure(Instant::ZERO + Duration::from_secs(3));
    assert_eq!(later.map(|change| change.to), Some(Level::Restricted));
}
