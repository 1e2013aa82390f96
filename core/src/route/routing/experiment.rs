//! Statistics that stay valid while they are watched.

use super::*;

/// Random numbers of a run: SplitMix64's, through the module's hash.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 += 1;
        (stable_hash(&self.0.to_le_bytes()) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn run(run: u64) -> Self {
        Self(run << 32)
    }
}

/// Which side a request goes to, of which share the candidate has `share`.
fn side(random: &mut Random, share: f64) -> Side {
    if random.next() < share { Side::Candidate } else { Side::Control }
}

/// The most runs of so many that may go wrong, if each does with a probability of alpha: 4 standard
/// deviations above.
fn most_wrong(runs: u32, alpha: f64) -> u32 {
    let runs = f64::from(runs);
    (runs * alpha + 4.0 * (runs * alpha * (1.0 - alpha)).sqrt()).ceil() as u32
}

const RUNS: u32 = 1_000;
const OBSERVATIONS: u32 = 2_000;

/// What is decided when a run of outcomes is watched after each.
fn watched(
    run: u64,
    share: f64,
    config: ExperimentConfig,
    mut outcome: impl FnMut(&mut Random, Side, u32) -> (bool, Option<Duration>),
) -> Decision {
    let (mut random, mut experiment) = (Random::run(run), Experiment::new(config).unwrap());
    for number in 0..OBSERVATIONS {
        let side = side(&mut random, share);
        let (success, latency) = outcome(&mut random, side, number);
        experiment.record(side, success, latency);
        match experiment.decide() {
            Decision::Continue => {}
            decision => return decision,
        }
    }
    Decision::Continue
}

fn says_there_is_a_difference(decision: Decision) -> bool {
    !matches!(decision, Decision::Continue | Decision::Promote(Promotion::AsGood))
}

#[test]
fn equal_success_rates_are_called_different_in_at_most_alpha_of_all_experiments() {
    let config = ExperimentConfig::DEFAULT;
    for (rate, share) in [(0.5, 0.5), (0.95, 0.5), (0.9, 0.1), (0.999, 0.5)] {
        let wrong = (0..u64::from(RUNS))
            .filter(|&run| {
                let decision =
                    watched(run, share, config, |random, _, _| (random.next() < rate, None));
                says_there_is_a_difference(decision)
            })
            .count();
        // Half of alpha is for the success rates.
        assert!(wrong as u32 <= most_wrong(RUNS, 0.025), "{wrong} of {RUNS} at {rate}, {share}");
    }
}

#[test]
fn a_rate_that_changes_for_both_is_no_difference() {
    // An outage in the middle of it, and a share that is far from half.
    let wrong = (0..u64::from(RUNS))
        .filter(|&run| {
            let decision = watched(run, 0.2, ExperimentConfig::DEFAULT, |random, _, number| {
                let rate = if (500..900).contains(&number) { 0.2 } else { 0.98 };
                (random.next() < rate, None)
            });
            says_there_is_a_difference(decision)
        })
        .count();
    assert!(wrong as u32 <= most_wrong(RUNS, 0.025), "{wrong} of {RUNS}");
}

#[test]
fn a_fixed_test_that_is_watched_would_be_wrong_far_more_often() {
    // What all this is for: the same runs, with a z-test at 5 % after every outcome from the 50th on.
    let wrong = (0..200)
        .filter(|&run| {
            let mut random = Random::run(run);
            let (mut counts, mut successes) = ([0.0; 2], [0.0; 2]);
            (0..OBSERVATIONS).any(|number| {
                let side = side(&mut random, 0.5) as usize;
                counts[side] += 1.0;
                successes[side] += f64::from(u8::from(random.next() < 0.5));
                let rate = (successes[0] + successes[1]) / f64::from(number + 1);
                let variance = rate * (1.0 - rate) * (1.0 / counts[0] + 1.0 / counts[1]);
                let difference = successes[1] / counts[1] - successes[0] / counts[0];
                number >= 50 && difference.abs() > 1.96 * variance.sqrt()
            })
        })
        .count();
    assert!(wrong > 50, "{wrong} of 200");
}

/// An exponential latency with this mean, in milliseconds: most of it near 0, and a long tail.
fn exponential(random: &mut Random, mean: f64) -> Option<Duration> {
    let millis = -mean * (1.0 - random.next()).ln();
    Some(Duration::from_nanos((millis * 1e6) as u64))
}

/// Latencies count up to 200 ms, and no margin.
const BY_LATENCY: ExperimentConfig = ExperimentConfig {
    latency_limit: Duration::from_millis(200),
    latency_margin: 0.0,
    ..ExperimentConfig::DEFAULT
};

#[test]
fn equal_latencies_are_called_different_in_at_most_alpha_of_all_experiments() {
    let wrong = (0..u64::from(RUNS))
        .filter(|&run| {
            let decision =
                watched(run, 0.5, BY_LATENCY, |random, _, _| (true, exponential(random, 20.0)));
            says_there_is_a_difference(decision)
        })
        .count();
    assert!(wrong as u32 <= most_wrong(RUNS, 0.025), "{wrong} of {RUNS}");
}

#[test]
fn bounds_of_a_mean_hold_at_every_moment_at_once() {
    // Two-valued, uniform and exponential, cut off at 1; alpha is for each side.
    type Draw = fn(f64) -> f64;
    let draws = [
        ("two-valued", 0.1, (|uniform| f64::from(u8::from(uniform < 0.1))) as Draw),
        ("uniform", 0.5, |uniform| uniform),
        // The mean of min(X, 1) for an exponential X of mean 0.1.
        ("exponential", 0.1 * (1.0 - (-10_f64).exp()), |uniform| -0.1 * (1.0 - uniform).ln()),
    ];
    for (name, mean, draw) in draws {
        let wrong = (0..u64::from(RUNS))
            .filter(|&run| {
                let mut random = Random::run(run);
                let mut sequence = ConfidenceSequence::new(1.0).unwrap();
                (0..OBSERVATIONS).any(|_| {
                    sequence.insert(draw(random.next()));
                    let bounds = sequence.bounds(0.05);
                    mean < bounds.low || bounds.high < mean
                })
            })
            .count();
        assert!(wrong as u32 <= most_wrong(RUNS, 0.1), "{wrong} of {RUNS}, {name}");
    }
}

#[test]
fn bounds_close_in_on_the_mean() {
    let mut random = Random::run(1);
    let mut sequence = ConfidenceSequence::new(10.0).unwrap();
    let mut widths = std::vec![];
    for count in 1..=100_000_u32 {
        sequence.insert(10.0 * random.next());
        if [100, 1_000, 10_000, 100_000].contains(&count) {
            let bounds = sequence.bounds(0.025);
            assert!(bounds.low <= 5.0 && 5.0 <= bounds.high);
            widths.push(bounds.high - bounds.low);
        }
    }
    assert!(widths.is_sorted_by(|wide, narrow| wide > narrow));
    // Twice 2.89 / √n times about 4 (√(2 (log log + log 1 / alpha))), in units of the range of 10.
    assert!(widths[3] < 0.1, "{widths:?}");
}

/// How many of 200 runs decide `expected`, each watched.
fn decided(
    expected: Decision,
    config: ExperimentConfig,
    outcome: impl Fn(&mut Random, Side) -> (bool, Option<Duration>),
) -> usize {
    (0..200)
        .filter(|&run| {
            let decision = watched(run, 0.5, config, |random, side, _| outcome(random, side));
            decision == expected
        })
        .count()
}

fn of(side: Side, control: f64, candidate: f64) -> f64 {
    match side {
        Side::Control => control,
        Side::Candidate => candidate,
    }
}

#[test]
fn real_differences_of_success_are_found() {
    // 1,000 on each side: a fixed test would find 5 % against 12 % with a power of 99.9 %.
    let fewer = Decision::Stop(Harm::FewerSuccesses);
    let found = decided(fewer, ExperimentConfig::DEFAULT, |random, side| {
        (random.next() < of(side, 0.95, 0.88), None)
    });
    assert!(found >= 180, "{found} of 200");
    let more = Decision::Promote(Promotion::MoreSuccesses);
    let found = decided(more, ExperimentConfig::DEFAULT, |random, side| {
        (random.next() < of(side, 0.88, 0.95), None)
    });
    assert!(found >= 180, "{found} of 200");
    // A candidate that is broken is out before the promotion's least number.
    let mut random = Random::run(0);
    let mut experiment = Experiment::new(ExperimentConfig::DEFAULT).unwrap();
    let mut outcomes = 0;
    while experiment.decide() == Decision::Continue {
        experiment.record(Side::Control, random.next() < 0.99, None);
        experiment.record(Side::Candidate, random.next() < 0.2, None);
        outcomes += 1;
    }
    assert_eq!(experiment.decide(), fewer);
    assert!(outcomes < 30, "{outcomes} on each side");
}

#[test]
fn real_differences_of_latency_are_found() {
    let slower = Decision::Stop(Harm::Slower);
    let found = decided(slower, BY_LATENCY, |random, side| {
        (true, exponential(random, of(side, 20.0, 40.0)))
    });
    assert!(found >= 180, "{found} of 200");
    // Quicker only counts with as many successes, which takes some to see.
    let config = ExperimentConfig { success_margin: 0.05, ..BY_LATENCY };
    let quicker = Decision::Promote(Promotion::Quicker);
    let found =
        decided(quicker, config, |random, side| (true, exponential(random, of(side, 40.0, 20.0))));
    assert!(found >= 180, "{found} of 200");
}

#[test]
fn a_candidate_that_is_as_good_is_promoted_and_one_that_is_worse_is_not() {
    let config = ExperimentConfig {
        success_margin: 0.05,
        latency_margin: 1.0,
        latency_limit: Duration::from_millis(200),
        ..ExperimentConfig::DEFAULT
    };
    let as_good = Decision::Promote(Promotion::AsGood);
    let good =
        decided(as_good, config, |random, _| (random.next() < 0.99, exponential(random, 20.0)));
    assert!(good >= 180, "{good} of 200");
    // Worse by just the margin: the claim that it is not fails in at most alpha of them.
    let worse = decided(as_good, config, |random, side| {
        (random.next() < of(side, 0.99, 0.94), exponential(random, 20.0))
    });
    assert!(worse as u32 <= most_wrong(200, 0.05), "{worse} of 200");
}

#[test]
fn what_is_not_decided_ends_undecided() {
    let config = ExperimentConfig { most: 10, ..ExperimentConfig::DEFAULT };
    let mut experiment = Experiment::new(config).unwrap();
    for _ in 0..5 {
        assert_eq!(experiment.decide(), Decision::Continue);
        experiment.record(Side::Control, true, None);
        experiment.record(Side::Candidate, true, None);
    }
    assert_eq!(experiment.decide(), Decision::Undecided);
}

#[test]
fn what_was_certain_stays_so() {
    let mut experiment = Experiment::new(ExperimentConfig::DEFAULT).unwrap();
    for _ in 0..100 {
        experiment.record(Side::Control, true, None);
        experiment.record(Side::Candidate, false, None);
    }
    let evidence = experiment.evidence();
    for _ in 0..10_000 {
        experiment.record(Side::Control, false, None);
        experiment.record(Side::Candidate, true, None);
    }
    assert!(experiment.evidence().worse >= evidence.worse && evidence.worse > 1e6);
    assert_eq!(experiment.decide(), Decision::Stop(Harm::FewerSuccesses));
}

proptest! {
    #[test]
    fn no_outcome_makes_a_figure_that_is_none(
        outcomes in proptest::collection::vec(
            (any::<bool>(), any::<bool>(), proptest::option::of(any::<u64>())), 0..200,
        ),
    ) {
        let mut experiment = Experiment::new(ExperimentConfig::DEFAULT).unwrap();
        for (is_candidate, success, nanos) in outcomes {
            let side = if is_candidate { Side::Candidate } else { Side::Control };
            experiment.record(side, success, nanos.map(Duration::from_nanos));
            for side in [Side::Control, Side::Candidate] {
                for bounds in [experiment.success(side), experiment.latency(side)] {
                    prop_assert!(0.0 <= bounds.low && bounds.low <= bounds.high);
                }
            }
            let evidence = experiment.evidence();
            prop_assert!(evidence.better >= 1.0 && evidence.worse >= 1.0);
        }
    }
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let config = ExperimentConfig::DEFAULT;
    let error = |config| Experiment::new(config).err();
    for alpha in [0.0, 1.0, -0.5, f64::NAN] {
        assert_eq!(error(ExperimentConfig { alpha, ..config }), Some(ExperimentError::Alpha));
    }
    let latency_limit = Duration::ZERO;
    let limit = Some(ExperimentError::LatencyLimit);
    assert_eq!(error(ExperimentConfig { latency_limit, ..config }), limit);
    for margin in [-0.1, f64::NAN] {
        let successes = ExperimentConfig { success_margin: margin, ..config };
        let latencies = ExperimentConfig { latency_margin: margin, ..config };
        assert_eq!(error(successes), Some(ExperimentError::Margin));
        assert_eq!(error(latencies), Some(ExperimentError::Margin));
    }
}

#[test]
fn values_that_are_none_bound_nothing_wrongly() {
    for limit in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(ConfidenceSequence::new(limit), None);
    }
    let mut sequence = ConfidenceSequence::new(1.0).unwrap();
    assert_eq!(sequence.bounds(0.05), Bounds { low: 0.0, high: 1.0 });
    [f64::NAN, f64::INFINITY, -1.0].into_iter().for_each(|value| sequence.insert(value));
    let mean = sequence.mean().unwrap(); // of 0, 1 and 0
    assert!((mean - 1.0 / 3.0).abs() < 1e-15);
}
