//! Everything together, in virtual time: endpoints die, drag and come back.

use super::*;
use crate::breaker::{BreakerConfig, Outcome};
use std::collections::BinaryHeap;

/// How an endpoint answers at a time, in milliseconds: whether it does, and how soon.
type Behaviour = fn(u64) -> (bool, u64);

struct World {
    endpoints: Vec<(EndpointHealth, EndpointLoad, Behaviour)>,
    cap: EjectionCap,
    retries: Retries,
    policy: Gated<Latency>,
    /// What ends when, soonest first: the negative end, the number and the endpoint.
    under_way: BinaryHeap<(i64, u64, usize)>,
    calls: Vec<Option<(Call, InFlight, bool, u64)>>,
    /// For each endpoint, when it was called.
    called: Vec<Vec<u64>>,
    unanswered: Vec<u64>,
}

impl World {
    fn new(behaviours: &[Behaviour]) -> Self {
        let breaker = BreakerConfig { open_for: Duration::from_secs(1), ..BreakerConfig::DEFAULT };
        let slow_start = Duration::from_secs(2);
        let config = HealthConfig { breaker, slow_start, ..HealthConfig::DEFAULT };
        let endpoint = |(seed, &behaviour): (usize, &Behaviour)| {
            let health = EndpointHealth::new(config, seed as u64, at(0)).unwrap();
            (health, EndpointLoad::new(Duration::from_secs(10)), behaviour)
        };
        Self {
            endpoints: behaviours.iter().enumerate().map(endpoint).collect(),
            cap: EjectionCap::new(500),
            retries: Retries::new(200, 100, 10, 3).unwrap(),
            policy: Gated { gate: Gate::DEFAULT, policy: Latency::default() },
            under_way: BinaryHeap::new(),
            calls: Vec::new(),
            called: std::vec![Vec::new(); behaviours.len()],
            unanswered: Vec::new(),
        }
    }

    fn candidates(&self, now: Instant) -> Vec<Candidate> {
        let plain = equals(self.endpoints.len());
        let filled = self
            .endpoints
            .iter()
            .zip(plain)
            .map(|((health, load, _), plain)| load.fill(health.fill(plain, now), now));
        filled.collect()
    }

    /// Ends what has ended by then.
    fn end(&mut self, millis: u64) {
        while let Some(&(end, number, endpoint)) = self.under_way.peek()
            && (-end) as u64 <= millis
        {
            self.under_way.pop();
            let (call, in_flight, answers, took) = self.calls[number as usize].take().unwrap();
            let now = at((-end) as u64);
            let (health, load, _) = &self.endpoints[endpoint];
            let latency = answers.then_some(Duration::from_millis(took));
            load.finish(in_flight, latency, now);
            let outcome = if answers { Outcome::Success } else { Outcome::Failure };
            health.report(call, outcome, &self.cap, self.endpoints.len() as u32, now);
        }
    }

    /// A request with as many tries as it may have; they follow at once, for what is dead fails at once.
    fn request(&mut self, number: u64, millis: u64) {
        let now = at(millis);
        let mut blocked = Vec::new();
        self.retries.record_request();
        for attempts in 1.. {
            let candidates = self.candidates(now);
            let random = stable_hash(&(number * 8 + attempts).to_le_bytes());
            let context = RouteContext { blocked: &blocked, ..RouteContext::new(now, random) };
            let Ok(choice) = self.policy.choose(&context, &candidates[..], &mut ()) else { break };
            let (health, load, behaviour) = &self.endpoints[choice.index];
            blocked.push(choice.endpoint);
            let call = match (health.try_call(now), choice.admission) {
                (Ok(call), _) => call,
                (Err(_), Admission::Panic) => health.call_anyway(now),
                (Err(_), _) => continue, // another one probes it
            };
            let (answers, took) = behaviour(millis);
            self.called[choice.index].push(millis);
            let id = self.calls.len() as u64;
            self.under_way.push((-((millis + took) as i64), id, choice.index));
            self.calls.push(Some((call, load.begin(), answers, took)));
            self.end(millis); // a failure that takes no time is known at once
            if answers {
                return;
            }
            let failed = Failed {
                attempts: attempts as u32,
                retryable: true,
                deadline: None,
                expected: None,
            };
            if self.retries.decide(failed, now) != RetryDecision::Retry {
                break;
            }
        }
        self.unanswered.push(millis);
    }

    /// A request each millisecond.
    fn run(&mut self, millis: u64) {
        for now in 0..millis {
            self.end(now);
            self.request(now, now);
        }
    }

    fn share(&self, endpoint: usize, from: u64, until: u64) -> f64 {
        let during = |called: &Vec<u64>| {
            called.iter().filter(|millis| (from..until).contains(*millis)).count() as f64
        };
        during(&self.called[endpoint]) / self.called.iter().map(during).sum::<f64>()
    }
}

#[test]
fn no_request_fails_that_a_healthy_endpoint_could_answer() {
    let well: Behaviour = |_| (true, 10);
    let dead_for_a_while: Behaviour = |now| {
        if (2_000..8_000).contains(&now) { (false, 0) } else { (true, 10) }
    };
    let slow: Behaviour = |_| (true, 200);
    let mut world = World::new(&[dead_for_a_while, slow, well, well]);
    world.run(20_000);
    assert_eq!(world.unanswered, []);
    // Ejected by its first five failures; then only probes, and what explores.
    let while_dead = world.called[0].iter().filter(|now| (2_000..8_000).contains(*now)).count();
    assert!((5..60).contains(&while_dead), "{while_dead}");
    // Well again, it has its part of what the quick ones do.
    assert!(world.share(0, 15_000, 20_000) > 0.2);
    assert!(world.share(1, 1_000, 20_000) < 0.05, "who is slow gets little");
    assert_eq!(world.cap.ejected(), 0);
}

#[test]
fn when_all_are_dead_retries_do_not_multiply_the_load() {
    let dead: Behaviour = |now| (now >= 5_000, 0);
    let mut world = World::new(&[dead, dead, dead]);
    world.run(10_000);
    let during: usize = world.called.iter().flatten().filter(|&&millis| millis < 5_000).count();
    // 5,000 requests, a fifth more in retries, and ten a second besides, saved up for a second.
    assert!(during <= 5_000 + 1_000 + 60, "{during}");
    // They are asked all the same, so it is seen at once that they are back.
    assert!(world.unanswered.iter().all(|&millis| millis < 5_000));
}
