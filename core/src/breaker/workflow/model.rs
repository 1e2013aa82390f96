//! A breaker for one thread, written from the rules.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::STEP;
use crate::Instant;
use crate::breaker::{BreakerConfig, Effect, Outcome, State};

#[derive(Clone, Debug)]
pub(super) struct Model {
    config: BreakerConfig,
    /// One number for each state.
    random: SplitMix64,
    mode: Mode,
    /// Names of the calls that were admitted in this state and may report.
    in_flight: Vec<u64>,
    admitted: u64,
}

#[derive(Clone, Debug)]
enum Mode {
    /// The reports, by slice of time.
    Closed {
        run: u64,
        slices: BTreeMap<u64, Vec<Outcome>>,
    },
    Open {
        openings: u32,
        until: u64,
    },
    HalfOpen {
        openings: u32,
        expire_at: u64,
        succeeded: u64,
        failed: u64,
        ignored: u64,
    },
}

/// As in the paper: a counter, mixed.
#[derive(Clone, Debug)]
pub(super) struct SplitMix64(pub(super) u64);

impl SplitMix64 {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }
}

fn round_up(nanos: u64) -> u64 {
    nanos.div_ceil(STEP) * STEP
}

impl Model {
    pub(super) fn new(config: BreakerConfig, seed: u64) -> Self {
        let mut random = SplitMix64(seed);
        random.next();
        let mode = Mode::Closed { run: 0, slices: BTreeMap::new() };
        Self { config, random, mode, in_flight: Vec::new(), admitted: 0 }
    }

    /// The name of the call and whether it is a probe, or when to ask again.
    pub(super) fn try_call(&mut self, now: Instant) -> Result<(u64, bool), Instant> {
        let now = now.as_nanos();
        self.let_pass(now);
        let timeout = self.config.probe_timeout.as_nanos();
        let probes = u64::from(self.config.probes);
        let flying = self.in_flight.len() as u64;
        let probe = match &mut self.mode {
            Mode::Closed { .. } => false,
            Mode::Open { until, .. } => return Err(Instant::from_nanos(*until)),
            Mode::HalfOpen { expire_at, succeeded, failed, .. } => {
                if flying + *succeeded + *failed == probes {
                    return Err(Instant::from_nanos(*expire_at));
                }
                *expire_at = (*expire_at).max(round_up(now + timeout));
                true
            }
        };
        self.admitted += 1;
        self.in_flight.push(self.admitted);
        Ok((self.admitted, probe))
    }

    pub(super) fn report(&mut self, name: u64, outcome: Outcome, now: Instant) -> Effect {
        let now = now.as_nanos();
        if !self.in_flight.contains(&name) {
            return Effect::Late;
        }
        self.expire(now);
        let Some(place) = self.in_flight.iter().position(|&flying| flying == name) else {
            return Effect::Late;
        };
        self.in_flight.remove(place);
        let openings = match &mut self.mode {
            Mode::Open { .. } => panic!("no call is admitted by an open breaker"),
            Mode::Closed { run, slices } => {
                if outcome == Outcome::Ignored {
                    return Effect::Counted;
                }
                *run = if outcome == Outcome::Failure { *run + 1 } else { 0 };
                let in_row = self.config.consecutive_failures;
                let by_run = in_row.is_some_and(|most| *run >= u64::from(most));
                let eighth = self.config.window.as_nanos().div_ceil(8);
                keep(slices, now / eighth, outcome);
                if !by_run && !rates_open(&self.config, slices, now / eighth) {
                    return Effect::Counted;
                }
                0
            }
            Mode::HalfOpen { openings, succeeded, failed, ignored, .. } => {
                let slow_is_bad = self.config.slow_rate.is_some();
                match outcome {
                    Outcome::Ignored if *ignored < 255 => *ignored += 1,
                    Outcome::Success => *succeeded += 1,
                    Outcome::Slow if !slow_is_bad => *succeeded += 1,
                    _ => *failed += 1,
                }
                let (wanted, probes) = share(&self.config);
                if *succeeded * 1000 >= wanted {
                    self.change(Mode::Closed { run: 0, slices: BTreeMap::new() });
                    return Effect::Closed;
                }
                if (probes - *failed) * 1000 >= wanted {
                    return Effect::Counted;
                }
                *openings + 1
            }
        };
        self.open(openings, now);
        Effect::Opened
    }

    pub(super) fn state(&self, now: Instant) -> State {
        let mut then = self.clone();
        then.let_pass(now.as_nanos());
        match then.mode {
            Mode::Closed { .. } => State::Closed,
            Mode::Open { until, .. } => State::Open { until: Instant::from_nanos(until) },
            Mode::HalfOpen { succeeded, failed, .. } => State::HalfOpen {
                in_flight: then.in_flight.len() as u8,
                succeeded: succeeded as u8,
                failed: failed as u8,
            },
        }
    }

    /// What time alone brings.
    fn let_pass(&mut self, now: u64) {
        self.expire(now);
        if let Mode::Open { openings, until } = self.mode
            && until <= now
        {
            let (succeeded, failed, ignored) = (0, 0, 0);
            self.change(Mode::HalfOpen { openings, expire_at: 0, succeeded, failed, ignored });
        }
    }

    fn expire(&mut self, now: u64) {
        let Mode::HalfOpen { openings, expire_at, failed, .. } = &mut self.mode else { return };
        if self.in_flight.is_empty() || now < *expire_at {
            return;
        }
        *failed += self.in_flight.len() as u64;
        let (wanted, probes) = share(&self.config);
        let (openings, start) = (*openings + 1, *expire_at);
        if (probes - *failed) * 1000 < wanted {
            self.open(openings, start);
        } else {
            // Those still to come have their own time.
            *expire_at = 0;
            let same = self.mode.clone();
            self.change(same);
        }
    }

    /// Opens at `start`, after so many openings.
    fn open(&mut self, openings: u32, start: u64) {
        let factor = u128::from(self.config.open_growth / 1000);
        let grown = u128::from(self.config.open_for.as_nanos()) * factor.pow(openings.min(20));
        let length = grown.min(u128::from(self.config.open_at_most.as_nanos()));
        // The random number of the state that begins.
        let random = u128::from(self.random.clone().next());
        let cut = (length * u128::from(self.config.jitter) / 1000 * random) >> 64;
        let until = round_up(start + (length - cut) as u64);
        self.change(Mode::Open { openings, until });
    }

    fn change(&mut self, mode: Mode) {
        self.mode = mode;
        self.in_flight.clear();
        self.random.next();
    }
}

/// How many successes are wanted, in thousandths, and of how many probes.
fn share(config: &BreakerConfig) -> (u64, u64) {
    let probes = u64::from(config.probes);
    (probes * u64::from(config.probe_successes), probes)
}

/// Puts a report in its slice. Every eighth slice has the same place: a later one takes it over, an
/// earlier one only from 17 windows away.
fn keep(slices: &mut BTreeMap<u64, Vec<Outcome>>, slice: u64, outcome: Outcome) {
    let rival = slices.keys().copied().find(|other| other % 8 == slice % 8);
    if let Some(other) = rival.filter(|&other| other != slice) {
        if other > slice && (other - slice) / 8 <= 16 {
            return;
        }
        slices.remove(&other);
    }
    slices.entry(slice).or_default().push(outcome);
}

fn rates_open(config: &BreakerConfig, slices: &BTreeMap<u64, Vec<Outcome>>, slice: u64) -> bool {
    let within = |other: u64| other + 8 > slice && other <= slice + 8;
    let reports = || slices.iter().filter(|(other, _)| within(**other)).flat_map(|(_, seen)| seen);
    let count = |wanted| reports().filter(|&&outcome| outcome == wanted).count() as u64;
    let calls = reports().count() as u64;
    let reached = |outcome, rate: Option<u16>| {
        rate.is_some_and(|rate| count(outcome) * 1000 >= u64::from(rate) * calls)
    };
    calls >= u64::from(config.minimum_calls)
        && (reached(Outcome::Failure, config.failure_rate)
            || reached(Outcome::Slow, config.slow_rate))
}
