//! The simulator against queueing theory, which knows nothing of it.

use super::*;

/// The mean wait in milliseconds of single requests at a Poisson rate, on one executor.
fn mean_wait(service: &Service, load: f64, seed: u64) -> f64 {
    let limits = Limits { max_queued: 1_000_000, ..Limits::new(1, Duration::ZERO) };
    let process = Process::Poisson { rate: load * service.capacity(1) };
    let arrivals = Workload::new(process, seed).arrivals(200_000).unwrap();
    let report = run(&arrivals, &mut Ours::new(&limits).unwrap(), service, &limits).unwrap();
    assert_eq!(report.answered, 200_000);
    report.levels[&0].wait.mean().unwrap()
}

/// Pollaczek and Khinchine: load / (1 - load) / 2 times E[S^2] / E[S], with the service time S.
fn expected(load: f64, mean: f64, mean_of_squares: f64) -> f64 {
    load / (1.0 - load) / 2.0 * mean_of_squares / mean
}

fn check(measured: f64, expected: f64, what: &str) {
    let off = measured / expected - 1.0;
    assert!(off.abs() < 0.04, "{what}: {measured} ms, and theory says {expected} ms");
}

#[test]
fn constant_service_waits_as_long_as_pollaczek_and_khinchine_say() {
    let service = Service::new(Curve::linear(ms(3), ms(1)));
    for (load, seed) in [(0.3, 1), (0.6, 2), (0.8, 3)] {
        check(mean_wait(&service, load, seed), expected(load, 4.0, 16.0), &format!("M/D/1 {load}"));
    }
}

#[test]
fn service_with_noise_waits_as_long_as_pollaczek_and_khinchine_say() {
    let noise: f64 = 0.5;
    let service = Service { noise, ..Service::new(Curve::linear(ms(3), ms(1))) };
    // A lognormal's mean square is its squared mean times e to the variance of its logarithm.
    let squares = 16.0 * (noise * noise).exp();
    check(mean_wait(&service, 0.6, 4), expected(0.6, 4.0, squares), "M/G/1");
}

#[test]
fn arrivals_have_the_rates_and_shares_that_were_asked_for() {
    let count = 100_000;
    for (process, tolerance) in [
        (Process::Uniform { rate: 500.0 }, 1e-4),
        (Process::Poisson { rate: 500.0 }, 0.02),
        // On average 0.2 * 4 + 0.8 / 4 of the rate.
        (Process::bursts(500.0), 0.1),
    ] {
        let name = format!("{process:?}");
        let workload = Workload { high_share: 0.2, ..Workload::new(process, 5) };
        let arrivals = workload.arrivals(count).unwrap();
        let seconds = arrivals.last().unwrap().at.as_nanos() as f64 / 1e9;
        let rate = f64::from(count) / seconds;
        assert!((rate / 500.0 - 1.0).abs() < tolerance, "{name}: {rate}");
        let high = arrivals.iter().filter(|arrival| arrival.priority == HIGH).count();
        assert!((high as f64 / f64::from(count) / 0.2 - 1.0).abs() < 0.03, "{name}: {high}");
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at), "{name}");
    }
}

#[test]
fn bursts_are_burstier_than_poisson() {
    // The variance of the number in 10 ms by its mean: 1 for Poisson.
    let dispersion = |process| {
        let arrivals = Workload::new(process, 6).arrivals(50_000).unwrap();
        let slots = arrivals.last().unwrap().at.as_nanos() / (10 * MS) + 1;
        let mut counts = vec![0.0; slots as usize];
        for arrival in &arrivals {
            counts[(arrival.at.as_nanos() / (10 * MS)) as usize] += 1.0;
        }
        let mean = counts.iter().sum::<f64>() / slots as f64;
        counts.iter().map(|count| (count - mean) * (count - mean)).sum::<f64>()
            / slots as f64
            / mean
    };
    let poisson = dispersion(Process::Poisson { rate: 1000.0 });
    assert!((0.9..1.1).contains(&poisson), "{poisson}");
    assert!(dispersion(Process::bursts(1000.0)) > 3.0);
}

#[test]
fn a_step_doubles_what_comes_after_it() {
    let step = Step { at: at(50), factor: 2.0 };
    let service = Service { step: Some(step), ..Service::new(Curve::linear(ms(2), ms(1))) };
    let mut random = Random::new(1);
    assert_eq!(service.time(4, 0, at(49), &mut random), ms(6));
    assert_eq!(service.time(4, 0, at(50), &mut random), ms(12));
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let good = Workload::new(Process::Poisson { rate: 1.0 }, 1);
    let with = |process| Workload { process, ..good.clone() };
    let burst = |on_rate, off_rate, on, off| {
        with(Process::Bursts { on_rate, off_rate, mean_on: ms(on), mean_off: ms(off) })
    };
    for (workload, error) in [
        (with(Process::Poisson { rate: 0.0 }), WorkloadError::Rate),
        (with(Process::Poisson { rate: f64::NAN }), WorkloadError::Rate),
        (with(Process::Uniform { rate: -1.0 }), WorkloadError::Rate),
        (burst(f64::INFINITY, 1.0, 1, 1), WorkloadError::Rate),
        (burst(1.0, -1.0, 1, 1), WorkloadError::Rate),
        (burst(1.0, 0.0, 0, 1), WorkloadError::BurstLength),
        (burst(1.0, 0.0, 1, 0), WorkloadError::BurstLength),
        (Workload { shapes: Shapes::Alternating(0), ..good.clone() }, WorkloadError::Shapes),
        (Workload { shapes: Shapes::Random(vec![0.0]), ..good.clone() }, WorkloadError::Shapes),
        (Workload { high_share: 1.1, ..good.clone() }, WorkloadError::HighShare),
        (Workload { high_share: f64::NAN, ..good.clone() }, WorkloadError::HighShare),
        (Workload { items: Items::Fixed(0), ..good.clone() }, WorkloadError::Items),
        (Workload { items: Items::Between(3, 2), ..good.clone() }, WorkloadError::Items),
        (Workload { timeout: Some(Duration::ZERO), ..good.clone() }, WorkloadError::Timeout),
    ] {
        assert_eq!(workload.arrivals(10), Err(error), "{workload:?}");
    }
    assert_eq!(good.arrivals(10).map(|arrivals| arrivals.len()), Ok(10));
    assert!(burst(1.0, 0.0, 1, 1).arrivals(10).is_ok(), "nothing may come between bursts");
}
