//! What choosing one of 100 endpoints costs, for each policy, and what goes with a choice.
//!
//! `cargo bench --bench routing`, a few seconds; `-- --help` names the options.

use serde_json::json;
use std::hint::black_box;
use std::process::exit;
use tensorforge_benches::report::Report;
use tensorforge_benches::target::Target;
use tensorforge_benches::{clock, median};
use tensorforge_core::batch::ModelId;
use tensorforge_core::route::{
    Affinity, Bandit, BanditConfig, Candidate, Candidates, Cheapest, EndpointHealth, EndpointId,
    EndpointLoad, Experiment, ExperimentConfig, Filtered, Gate, Gated, Geographic, Headroom,
    Health, HealthConfig, Latency, LeastRequest, Outstanding, Place, Priority, RoundRobin,
    RouteContext, RoutingPolicy, Rule, Rules, Side, SmoothWeighted, Split, Target as RuleTarget,
    WeightedRandom, stable_hash,
};
use tensorforge_core::{Duration, Instant};

const HELP: &str = "\
What choosing one of 100 endpoints costs, for each policy.

cargo bench --bench routing -- [OPTIONS]

  --quick        a smoke of a second: does it still run; its figures mean little
  --json         one JSON object instead of the table
  --help         this

The exit status is 0 whatever the figures are; missed targets are listed at the end.";

const ENDPOINTS: u64 = 100;

/// Long after the endpoints came.
const NOW: Instant = Instant::from_nanos(1 << 40);

fn main() {
    let (mut quick, mut json) = (false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bench" => {} // cargo's
            "--quick" | "--test" => quick = true,
            "--json" => json = true,
            "--help" | "-h" => return println!("{HELP}"),
            _ => {
                eprintln!("{argument} is no option; see --help");
                exit(2);
            }
        }
    }
    let (rounds, choices) = if quick { (1, 2_000) } else { (7, 100_000) };
    let mut report = Report::default();
    if !json {
        println!("one thread, {ENDPOINTS} endpoints, ns; medians of {rounds} rounds");
        println!("  {:<32} {:>8} {:>8} {:>8}", "", "mean", "p50", "p99");
    }
    for (name, mut choose) in cells() {
        let taken: Vec<_> = (0..rounds).map(|_| taken(choices, &mut choose)).collect();
        let of = |figure: fn(&Taken) -> f64| median(taken.iter().map(figure).collect());
        let (mean, p50, p99) = (of(|t| t.mean), of(|t| t.p50), of(|t| t.p99));
        if !json {
            println!("  {name:<32} {mean:>8.0} {p50:>8.0} {p99:>8.0}");
        }
        let targets = vec![
            Target::at_most("p50 of a choice, ns".into(), 1_000.0, p50),
            Target::at_most("p99 of a choice, ns".into(), 1_000.0, p99),
        ];
        let figures = json!({ "what": name, "mean": mean, "p50": p50, "p99": p99 });
        report.add("cells", name, targets, figures);
    }
    report.insert("quick", quick.into());
    report.finish(json);
}

/// What one round's choices took, in nanoseconds.
struct Taken {
    mean: f64,
    p50: f64,
    p99: f64,
}

/// Times `choose` as a whole, then one by one: the look at the clock is in `p50` and `p99`.
fn taken(choices: u64, choose: &mut impl FnMut(u64) -> usize) -> Taken {
    let start = clock::now();
    for number in 0..choices {
        black_box(choose(number));
    }
    let mean = start.elapsed().as_nanos() as f64 / choices as f64;
    let mut ticks: Vec<_> = (0..choices)
        .map(|number| {
            let start = clock::ticks();
            black_box(choose(number));
            clock::ticks() - start
        })
        .collect();
    ticks.sort_unstable();
    let at = |share: f64| {
        let rank = (ticks.len() as f64 * share) as usize;
        ticks[rank.min(ticks.len() - 1)] as f64 * clock::nanoseconds_per_tick()
    };
    Taken { mean, p50: at(0.5), p99: at(0.99) }
}

type Cell = (&'static str, Box<dyn FnMut(u64) -> usize>);

fn cells() -> Vec<Cell> {
    let all = endpoints();
    let mixed: Vec<_> = (1..)
        .zip(&all)
        .map(|(number, &one)| Candidate { weight: 1 + number % 10, ..one })
        .collect();
    let mut hot = mixed.clone();
    hot.iter_mut().for_each(|one| one.outstanding = 1);
    hot[42].outstanding = 0;
    let mut ill = all.clone();
    ill.iter_mut().step_by(10).for_each(|one| one.health = Health::Ejected);
    let lenient = Gated { gate: Gate::DEFAULT, policy: Latency::default() };
    let to_version = Rule::new(&[], RuleTarget::Version(ModelId(7))).expect("no condition is few");
    let rules = Rules([to_version.strict()]);
    let filters = (rules, (Priority::DEFAULT, (Geographic::DEFAULT, Headroom::default())));
    let mut cells = vec![
        cell("round robin", RoundRobin::new(), &all),
        cell("smooth weighted", SmoothWeighted::<128>::new(), &mixed),
        cell("weighted random", WeightedRandom, &mixed),
        cell("least request", LeastRequest::default(), &all),
        cell("latency", Latency::default(), &all),
        cell("latency, 10 ill, lenient", lenient, &ill),
        cell("cheapest", Cheapest(Outstanding), &all),
        cell("sticky", Affinity::STICKY, &all),
        cell("sticky, by weight", Affinity::STICKY, &mixed),
        cell("sticky, all but one full", Affinity { load_factor: 1000, ..Affinity::STICKY }, &hot),
        cell("model affinity", Affinity::MODEL, &all),
        cell(
            "geographic",
            Filtered { filter: Geographic::DEFAULT, policy: LeastRequest::default() },
            &all,
        ),
        cell("rules", Filtered { filter: rules, policy: RoundRobin::new() }, &all),
        cell(
            "priority",
            Filtered { filter: Priority::DEFAULT, policy: LeastRequest::default() },
            &all,
        ),
        cell("four filters and latency", Filtered { filter: filters, policy: lenient }, &all),
    ];
    cells.extend([
        live("least request, live figures", LeastRequest::default(), &all),
        live("latency, live figures", Latency::default(), &all),
        live("smooth weighted, live figures", SmoothWeighted::<128>::new(), &mixed),
        live("sticky, live figures", Affinity::STICKY, &all),
        live("sticky, by weight, live figures", Affinity::STICKY, &mixed),
        live("four filters, live figures", Filtered { filter: filters, policy: lenient }, &all),
    ]);
    let split = Split::new(&[9_000, 1_000], 1).expect("the weights add up");
    cells.push(("split, in turn", Box::new(move |_| split.next_arm())));
    let split = Split::new(&[9_000, 1_000], 1).expect("the weights add up");
    cells.push(("split, by key", Box::new(move |number| split.arm_of(number))));
    let bandit =
        || Bandit::new(&[9_000, 1_000], BanditConfig::DEFAULT, 1).expect("the shares add up");
    let [in_turn, by_key, learning] = [(); 3].map(|()| bandit());
    cells.push(("bandit, in turn", Box::new(move |_| in_turn.arm(None))));
    cells.push(("bandit, by key", Box::new(move |number| by_key.arm(Some(number)))));
    cells.push((
        "a bandit's outcome",
        Box::new(move |number| {
            // A thousand a second, so that one in a thousand makes new shares.
            let now = NOW + Duration::from_millis(number);
            usize::from(learning.record((number % 2) as usize, 1.0, now))
        }),
    ));
    let mut experiment =
        Experiment::new(ExperimentConfig::DEFAULT).expect("the default makes sense");
    cells.push((
        "an experiment's outcome",
        Box::new(move |number| {
            let side = if number % 2 == 0 { Side::Control } else { Side::Candidate };
            let latency = Duration::from_micros(number % 1_000);
            experiment.record(side, number % 17 != 0, Some(latency));
            experiment.count(side) as usize
        }),
    ));
    cells
}

fn cell(name: &'static str, policy: impl RoutingPolicy + 'static, all: &[Candidate]) -> Cell {
    let all = all.to_vec();
    // As configured at run time: behind a pointer.
    let policy: Box<dyn RoutingPolicy> = Box::new(policy);
    let choose = move |number| {
        let choice = policy.choose(black_box(&request(number)), &all[..], &mut ());
        choice.expect("someone can be chosen").index
    };
    (name, Box::new(choose))
}

/// One that uses whatever a policy can go by.
fn request(number: u64) -> RouteContext<'static> {
    RouteContext {
        version: Some(ModelId(7)),
        place: Place { region: 1, zone: 1, ..Place::UNKNOWN },
        sticky: Some(number),
        deadline: Some(NOW + Duration::from_secs(5)),
        ..RouteContext::new(NOW, stable_hash(&[number as u8]))
    }
}

/// Endpoints whose figures are read from what threads share, as a choice comes to them.
struct Live {
    endpoints: Vec<(Candidate, EndpointHealth, EndpointLoad)>,
    now: Instant,
}

impl Candidates for Live {
    fn count(&self) -> usize {
        self.endpoints.len()
    }

    #[inline(always)]
    fn candidate(&self, index: usize) -> Option<Candidate> {
        let (plain, health, load) = self.endpoints.get(index)?;
        Some(load.fill(health.fill(*plain, self.now), self.now))
    }

    #[inline(always)]
    fn place(&self, index: usize) -> Option<Place> {
        self.endpoints.get(index).map(|(plain, ..)| plain.place)
    }
}

fn live(name: &'static str, policy: impl RoutingPolicy<Live> + 'static, all: &[Candidate]) -> Cell {
    let endpoint = |(seed, &plain): (u64, &Candidate)| {
        let health = EndpointHealth::new(HealthConfig::DEFAULT, seed, Instant::ZERO);
        let load = EndpointLoad::new(Duration::from_secs(10));
        load.finish(load.begin(), plain.latency, plain.measured_at);
        (0..plain.outstanding).for_each(|_| _ = load.begin());
        (plain, health.expect("the default makes sense"), load)
    };
    let live = Live { endpoints: (0..).zip(all).map(endpoint).collect(), now: NOW };
    let policy: Box<dyn RoutingPolicy<Live>> = Box::new(policy);
    let choose = move |number| {
        let choice = policy.choose(black_box(&request(number)), &live, &mut ());
        choice.expect("someone can be chosen").index
    };
    (name, Box::new(choose))
}

/// Healthy and busy, three quarters of them in another zone.
fn endpoints() -> Vec<Candidate> {
    let endpoint = |number: u64| Candidate {
        place: Place { region: 1, zone: 1 + (number % 4) as u16, ..Place::UNKNOWN },
        outstanding: (number * 7 % 13) as u32,
        limit: 64,
        latency: Some(Duration::from_micros(500 + number * 37 % 101)),
        measured_at: Instant::from_nanos(NOW.as_nanos() - 1_000_000_000 + number),
        loaded: number.is_multiple_of(5),
        ..Candidate::new(EndpointId(stable_hash(&number.to_le_bytes())), ModelId(7))
    };
    (0..ENDPOINTS).map(endpoint).collect()
}
