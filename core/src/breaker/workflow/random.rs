//! Random calls, reports and times against the model.

use proptest::prelude::*;
use std::vec::Vec;

use super::model::{Model, SplitMix64};
use super::*;
use crate::breaker::word::{Phase, Probes, Word};
use crate::breaker::{config, deadline};

#[derive(Clone, Copy, Debug)]
enum Move {
    Call,
    /// Which of the permits held reports.
    Report(usize, Outcome),
    /// Which of them is lost.
    Lose(usize),
    Wait(u64),
    StepBack(u64),
    /// To the time that the last refused call was told.
    WaitAsTold,
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Success),
        5 => Just(Outcome::Failure),
        2 => Just(Outcome::Slow),
        1 => Just(Outcome::Ignored),
    ]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let wait = prop_oneof![0..STEP, 0..20 * STEP, 0..300 * STEP, 0..400_000_000_u64];
    let one = prop_oneof![
        8 => Just(Move::Call),
        8 => (any::<usize>(), outcomes()).prop_map(|(which, outcome)| Move::Report(which, outcome)),
        1 => any::<usize>().prop_map(Move::Lose),
        3 => wait.clone().prop_map(Move::Wait),
        1 => wait.prop_map(Move::StepBack),
        2 => Just(Move::WaitAsTold),
    ];
    prop::collection::vec(one, 1..400)
}

fn configs() -> impl Strategy<Value = BreakerConfig> {
    let rules = (
        prop::option::of(1..6_u32),
        prop::option::of(1..=1000_u16),
        prop::option::of(1..=1000_u16),
        1_000_000..200_000_000_u64,
        1..20_u16,
    );
    let openings = (1..200 * STEP, 1..4_u32, 1..10_u64, 0..=1000_u16);
    let probes = (1..8_u8, 1..=1000_u16, 1..40 * STEP);
    (rules, openings, probes).prop_map(|(rules, openings, probes)| {
        let (run, failure_rate, slow_rate, window, minimum_calls) = rules;
        let (open_for, growth, limit, jitter) = openings;
        let (probes, probe_successes, timeout) = probes;
        let no_rate = failure_rate.is_none() && slow_rate.is_none();
        BreakerConfig {
            consecutive_failures: run.or(no_rate.then_some(2)),
            failure_rate,
            slow_rate,
            window: Duration::from_nanos(window),
            minimum_calls,
            open_for: Duration::from_nanos(open_for),
            open_growth: growth * 1000,
            open_at_most: Duration::from_nanos(open_for * limit),
            jitter,
            probes,
            probe_successes,
            probe_timeout: Duration::from_nanos(timeout),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_breaker_follows_the_model(
        config in configs(),
        seed: u64,
        start in 0..1_u64 << 50,
        at_wrap: bool,
        moves in moves(),
    ) {
        // The words of the window tell 2^23 laps apart.
        let window = config.window.as_nanos();
        let start = if at_wrap { (window << 23) - start % (2 * window) } else { start };
        let breaker = Breaker::new(config, seed).unwrap();
        let mut model = Model::new(config, seed);
        let (mut now, mut told, mut held) = (at(start), at(start), Vec::new());
        for step in moves {
            match step {
                Move::Call => match (breaker.try_call(now), model.try_call(now)) {
                    (Ok(permit), Ok((name, probe))) => {
                        prop_assert_eq!(permit.is_probe(), probe);
                        held.push((permit, name));
                    }
                    (Err(refused), Err(retry_at)) => {
                        prop_assert_eq!(refused.retry_at, retry_at);
                        prop_assert!(retry_at > now);
                        told = retry_at;
                    }
                    (breaker, model) => prop_assert!(false, "{:?}, not {:?}", breaker, model),
                },
                Move::Report(which, outcome) if !held.is_empty() => {
                    let (permit, name) = held.swap_remove(which % held.len());
                    let effect = breaker.report(permit, outcome, now);
                    prop_assert_eq!(effect, model.report(name, outcome, now));
                }
                Move::Lose(which) if !held.is_empty() => {
                    drop(held.swap_remove(which % held.len()));
                }
                Move::Report(..) | Move::Lose(_) => {}
                Move::Wait(nanos) => now = now + Duration::from_nanos(nanos),
                Move::StepBack(nanos) => now = at(now.as_nanos().saturating_sub(nanos)),
                Move::WaitAsTold => now = now.max(told),
            }
            prop_assert_eq!(breaker.state(now), model.state(now));
        }
    }

    #[test]
    fn a_half_open_always_ends(config in configs(), seed: u64, lost in prop::collection::vec(any::<bool>(), 64)) {
        // Whatever becomes of the probes: who asks again when told is admitted after a bounded
        // number of refusals, each in the future.
        let breaker = Breaker::new(config, seed).unwrap();
        let (mut now, mut refusals) = (at(0), 0);
        for is_lost in lost {
            match breaker.try_call(now) {
                Ok(permit) => {
                    refusals = 0;
                    if !is_lost {
                        breaker.report(permit, Outcome::Failure, now);
                    }
                }
                Err(refused) => {
                    refusals += 1;
                    prop_assert!(refusals <= 2, "its probes expire, and then the opening ends");
                    prop_assert!(refused.retry_at > now);
                    now = refused.retry_at;
                }
            }
        }
    }

    #[test]
    fn no_input_panics(
        rates in (any::<Option<u32>>(), any::<Option<u16>>(), any::<Option<u16>>()),
        times: [u64; 4],
        numbers: (u16, u32, u16, u8, u16),
        seed: u64,
        moves in prop::collection::vec((0..4_u8, outcomes(), any::<u64>()), 0..60),
    ) {
        let config = BreakerConfig {
            consecutive_failures: rates.0,
            failure_rate: rates.1.map(|rate| rate % 1100),
            slow_rate: rates.2.map(|rate| rate % 1100),
            window: Duration::from_nanos(times[0]),
            minimum_calls: numbers.0 % 1100,
            open_for: Duration::from_nanos(times[1]),
            open_growth: numbers.1,
            open_at_most: Duration::from_nanos(times[2]),
            jitter: numbers.2 % 1100,
            probes: numbers.3,
            probe_successes: numbers.4 % 1100,
            probe_timeout: Duration::from_nanos(times[3]),
        };
        let Ok(breaker) = Breaker::new(config, seed) else { return Ok(()) };
        let mut held = Vec::new();
        for (what, outcome, nanos) in moves {
            let now = at(if what == 3 { u64::MAX - nanos % 3 } else { nanos });
            match (what, held.pop()) {
                (0, Some(permit)) => _ = breaker.report(permit, outcome, now),
                (_, permit) => {
                    held.extend(permit);
                    held.extend(breaker.try_call(now));
                }
            }
            let _ = breaker.state(now);
        }
    }

    #[test]
    fn every_state_comes_out_of_its_word_as_it_went_in(
        epoch in 0..1_u32 << 24,
        run: u32,
        openings in 0..=63_u8,
        counts: [u8; 4],
    ) {
        let [ignored, admitted, succeeded, failed] = counts;
        let probes = Probes { openings, ignored, admitted, succeeded, failed };
        let phases = [Phase::Closed { run }, Phase::Open { openings }, Phase::HalfOpen(probes)];
        for word in phases.map(|phase| Word { epoch, phase }) {
            prop_assert_eq!(Word::unpack(word.pack()), word);
            let next = word.next(word.phase);
            prop_assert_eq!(Word::unpack(next.pack()).epoch, (epoch + 1) & 0xff_ffff);
        }
    }

    #[test]
    fn a_deadline_is_never_early_and_only_for_its_epoch(epoch in 0..1_u32 << 24, nanos: u64) {
        let word = deadline::pack(epoch, at(nanos));
        let found = deadline::of(epoch, word).unwrap();
        prop_assert!(found >= at(nanos).min(at(u64::MAX - STEP + 1)));
        prop_assert!(found.since(at(nanos)) < Duration::from_nanos(STEP));
        prop_assert_eq!(found, deadline::rounded(at(nanos)));
        prop_assert_eq!(deadline::of(epoch + 1, word), None);
    }

    #[test]
    fn the_random_numbers_are_splitmix64_s(seed: u64) {
        let mut generator = SplitMix64(seed);
        for epoch in 0..20 {
            prop_assert_eq!(config::random(seed, epoch), generator.next());
        }
    }
}

#[test]
fn the_random_numbers_are_the_published_ones() {
    // Of the seed 1234567, as its authors' program prints them.
    let published = [6457827717110365317, 3203168211198807973, 9817491932198370423];
    for (epoch, number) in (0..).zip(published) {
        assert_eq!(config::random(1_234_567, epoch), number);
    }
}
