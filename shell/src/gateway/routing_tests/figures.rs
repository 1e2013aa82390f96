//! The figures move exactly by what happens.

use super::*;
use crate::contracts::{RequestedOutput, SHADOW};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Every sample of a gateway's text, by its name and labels as they stand there.
struct Told(BTreeMap<String, f64>);

impl Told {
    fn by(gateway: &Gateway) -> Self {
        let text = gateway.metrics();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        };
        Self(samples.map(sample).collect())
    }

    /// One sample of a family, by its labels.
    fn one(&self, family: &str, labels: &str) -> f64 {
        let series = match labels {
            "" => format!("tensorforge_route_{family}"),
            labels => format!("tensorforge_route_{family}{{{labels}}}"),
        };
        *self.0.get(&series).unwrap_or_else(|| panic!("{series} is not there: {:?}", self.0))
    }

    /// All samples of a family whose labels begin like this.
    fn sum(&self, family: &str, labels: &str) -> f64 {
        self.of(family, labels).map(|(_, value)| value).sum()
    }

    /// The last label of those samples and their values, where these are not 0.
    fn counted(&self, family: &str, labels: &str) -> BTreeMap<String, u64> {
        let used = self.of(family, labels).filter(|(_, value)| *value != 0.0);
        let named = used.map(|(series, value)| {
            let last = series.trim_end_matches("\"}").rsplit('"').next().unwrap();
            (last.to_owned(), value as u64)
        });
        named.collect()
    }

    fn of<'a>(&'a self, family: &str, labels: &str) -> impl Iterator<Item = (&'a String, f64)> {
        let begin = format!("tensorforge_route_{family}{{{labels}");
        let fits = self.0.iter().filter(move |(series, _)| series.starts_with(&begin));
        fits.map(|(series, value)| (series, *value))
    }
}

fn counts<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected.map(|(name, count)| (name.to_owned(), count)).into()
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    if count > 0 {
        *counts.entry(name.to_owned()).or_default() += count;
    }
}

const OF_DIGITS: &str = "model=\"digits\"";

fn behaviour() -> impl Strategy<Value = (Does, &'static str)> {
    let says = |error| Does::Says(error);
    prop_oneof![
        6 => Just((Does::Answers, "answered")),
        1 => Just((Does::AnswersFor("letters"), "wrong_answer")),
        1 => Just((Does::LosesOutputs, "wrong_answer")),
        1 => Just((says(status(500)), "failed")),
        1 => Just((says(status(429)), "overloaded")),
        1 => Just((says(status(400)), "refused")),
        1 => Just((says(EndpointError::Unreachable("planted".into())), "unreachable")),
        1 => Just((Does::Hangs, "timed_out")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_figure_is_what_a_model_of_the_gateway_counts(
        steps in proptest::collection::vec([behaviour(), behaviour(), behaviour()], 1..60),
        policy in proptest::sample::select(&["round_robin", "latency", "least_request"][..]),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true);
        runtime.build().unwrap().block_on(async {
            let model = IN_TURN.replace("round_robin", policy);
            let bench = bench(&[Does::Answers, Does::Answers, Does::Answers], &model);
            let names = ["a", "b", "c"];
            let mut requests = BTreeMap::new();
            let mut attempts = [(); 3].map(|()| BTreeMap::new());
            let (mut first, mut retries, mut hedges) = (0, 0, 0);
            let sent = steps.len();
            for step in steps {
                for (name, (does, _)) in names.iter().zip(&step) {
                    *lock(&bench.fake(name).does) = does.clone();
                }
                let asked = names.map(|name| bench.fake(name).asked());
                let wanted = RequestedOutput { name: "y".into(), binary: false };
                let request = InferRequest { outputs: vec![wanted], ..InferRequest::default() };
                let result = bench.gateway.infer("digits", None, request, &Hints::default()).await;
                let (taken, outcome) = match &result {
                    Ok((_, taken)) if taken.stale_ms.is_some() => (taken, "stale"),
                    Ok((_, taken)) => (taken, "answered"),
                    Err(GatewayError::NoEndpoint { taken, .. }) if taken.attempts == 0 => {
                        (&**taken, "no_route")
                    }
                    Err(GatewayError::NoEndpoint { taken, .. }) => (&**taken, "failed"),
                    Err(GatewayError::Endpoint { taken, .. }) => (&**taken, "refused"),
                    Err(other) => panic!("{other}"),
                };
                add(&mut requests, outcome, 1);
                first += u64::from(taken.attempts > 0);
                hedges += u64::from(taken.hedged);
                retries += u64::from(taken.attempts.saturating_sub(1 + u32::from(taken.hedged)));
                for (place, (name, (_, outcome))) in names.iter().zip(&step).enumerate() {
                    let more = bench.fake(name).asked() - asked[place];
                    // Whoever lost to the other of two was given up.
                    let lost = taken.hedged && *outcome == "timed_out" && result.is_ok();
                    add(&mut attempts[place], if lost { "canceled" } else { outcome }, more as u64);
                }
            }
            let told = Told::by(&bench.gateway);
            assert_eq!(told.counted("requests_total", OF_DIGITS), requests);
            assert_eq!(told.sum("requests_total", OF_DIGITS), sent as f64);
            let of_kind = ["first_attempts", "retries", "hedges"];
            let kinds = of_kind.map(|kind| told.one(&format!("{kind}_total"), OF_DIGITS));
            assert_eq!(kinds, [first, retries, hedges].map(|count| count as f64));
            let all: f64 = kinds.iter().sum();
            assert_eq!(told.sum("attempts_total", OF_DIGITS), all);
            assert_eq!(told.sum("picks_total", OF_DIGITS), all);
            assert_eq!(told.sum("admissions_total", OF_DIGITS), all);
            for (name, expected) in names.iter().zip(&attempts) {
                let labels = format!("{OF_DIGITS},endpoint=\"{name}\"");
                assert_eq!(&told.counted("attempts_total", &labels), expected, "{name}");
                let answered = expected.get("answered").copied().unwrap_or(0) as f64;
                assert_eq!(told.one("attempt_duration_seconds_count", &labels), answered);
                assert_eq!(told.one("outstanding_attempts", &labels), 0.0);
                assert_eq!(told.sum("endpoint_health", &labels), 1.0);
                let is = |health: &str| told.one("endpoint_health", &format!("{labels},health=\"{health}\""));
                let out = told.one("ejections_total", &labels) - told.one("returns_total", &labels);
                assert_eq!(out, is("ejected") + is("recovering"), "{name}");
            }
            let ended_well = ["answered", "stale"].map(|it| requests.get(it).copied().unwrap_or(0));
            let count = told.one("request_duration_seconds_count", OF_DIGITS);
            assert_eq!(count, ended_well.iter().sum::<u64>() as f64);
        });
    }
}

#[tokio::test]
async fn counters_are_there_before_anything_happens() {
    let bench = bench(&[Does::Answers, Does::Answers], &(SHADOWED.to_owned() + SPLIT));
    let told = Told::by(&bench.gateway);
    for (family, labels) in [
        ("table_version", ""),
        ("unrouted_requests_total", ""),
        ("looped_requests_total", ""),
        ("dropped_annotations_total", ""),
        ("kept_answers", ""),
        ("answer_lookups_total", "result=\"missed\""),
        ("requests_total", "model=\"digits\",outcome=\"stale\""),
        ("refused_retries_total", "model=\"digits\",reason=\"no_budget\""),
        ("exclusions_total", "model=\"digits\",reason=\"would_miss_deadline\""),
        ("admissions_total", "model=\"digits\",admission=\"panic\""),
        ("attempts_total", "model=\"digits\",endpoint=\"a\",outcome=\"timed_out\""),
        ("attempts_total", "model=\"next\",endpoint=\"b\",outcome=\"answered\""),
        ("attempt_duration_seconds_bucket", "model=\"next\",endpoint=\"b\",le=\"+Inf\""),
        ("ejections_total", "model=\"digits\",endpoint=\"a\""),
        ("shadow_copies_total", "model=\"digits\",shadow=\"next\""),
        ("split_requests_total", "model=\"letters\",version=\"2\""),
        ("experiment_requests_total", "model=\"letters\",version=\"2\",arm=\"candidate\""),
    ] {
        let expected = f64::from(u8::from(family == "table_version"));
        assert_eq!(told.one(family, labels), expected, "{family} {labels}");
    }
    assert_eq!(told.one("experiment_verdict", "model=\"letters\",verdict=\"continue\""), 1.0);
    assert!(!told.0.keys().any(|series| series.contains("shadow=\"true\"")), "no copy came");
}

const SPLIT: &str = "[[models]]\nname = \"letters\"\nendpoints = [\"a\"]\nsplit = [\
    { version = \"1\", basis_points = 5000 }, { version = \"2\", basis_points = 5000 }]\n\
    experiment = { control = \"1\", candidate = \"2\" }\n";

#[tokio::test(start_paused = true)]
async fn a_request_ends_once_however_it_ends() {
    let models = "[[models]]\nname = \"digits\"\nendpoints = [\"a\"]\nfallbacks = [\"small\"]\n\
                  [[models]]\nname = \"small\"\nendpoints = [\"b\"]\n";
    let bench = bench(&[Does::Answers, Does::Answers], models);
    bench.send().await.unwrap();
    *lock(&bench.fake("a").does) = down();
    bench.send().await.unwrap();
    assert!(bench.send_with(json!({ "another": 1 }), &[]).await.unwrap().1.fallback_of.is_some());
    *lock(&bench.fake("b").does) = down();
    bench.send_with(json!({ "another": 2 }), &[]).await.unwrap_err();
    *lock(&bench.fake("a").does) = Does::Says(status(400));
    bench.send_with(json!({ "another": 3 }), &[]).await.unwrap_err();
    *lock(&bench.fake("a").does) = Does::Hangs;
    let given_up = tokio::time::timeout(Duration::from_secs(1), bench.send()).await;
    assert!(given_up.is_err());
    let drains = entry("a") + "state = \"draining\"\n" + &entry("b") + models;
    bench.publish(&drains).unwrap();
    bench.send_with(json!({ "another": 4 }), &[]).await.unwrap_err();
    let none = bench.gateway.infer("none", None, InferRequest::default(), &Hints::default()).await;
    none.unwrap_err();
    bench.send_with(json!({ HOPS: MAX_HOPS }), &[]).await.unwrap_err();

    let told = Told::by(&bench.gateway);
    let once = ["answered", "stale", "fallback", "failed", "refused", "canceled", "no_route"];
    let expected = counts(once.map(|outcome| (outcome, 1)));
    assert_eq!(told.counted("requests_total", OF_DIGITS), expected);
    assert_eq!(told.sum("requests_total", "model=\"small\""), 0.0, "nobody asked for it");
    let small = told.counted("attempts_total", "model=\"small\",endpoint=\"b\"");
    assert_eq!(small, counts([("answered", 1), ("unreachable", 2)]));
    assert_eq!(told.one("first_attempts_total", "model=\"small\""), 3.0);
    assert_eq!(told.one("unrouted_requests_total", ""), 1.0);
    assert_eq!(told.one("looped_requests_total", ""), 1.0);
    let lookups = ["fresh", "stale", "missed"]
        .map(|result| told.one("answer_lookups_total", &format!("result=\"{result}\"")));
    assert_eq!(lookups.iter().sum::<f64>(), 4.0, "one for each that nobody answered");
    assert_eq!(told.one("answers_total", "event=\"kept\""), 1.0);
    assert_eq!(told.one("kept_answers", ""), 1.0);
    assert_eq!(told.one("table_version", ""), 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_own_time_is_over_timed_out_and_its_attempt_was_late() {
    let says = Does::TakesAndSays(Duration::from_secs(1), status(504));
    let bench = bench(&[says], DIGITS);
    bench.send_with(json!({ "timeout": 900_000 }), &[]).await.unwrap_err();
    // The endpoint says so before that.
    bench.send_with(json!({ "timeout": 1_100_000 }), &[]).await.unwrap_err();
    let told = Told::by(&bench.gateway);
    assert_eq!(
        told.counted("requests_total", OF_DIGITS),
        counts([("timed_out", 1), ("failed", 1)])
    );
    let attempts = told.counted("attempts_total", OF_DIGITS);
    assert_eq!(attempts, counts([("late", 1), ("failed", 1)]));
}

#[tokio::test]
async fn what_this_process_itself_answers_too_late_was_late_as_well() {
    use crate::batch_scheduler::RunError;
    use crate::registry::DemandError;
    use crate::service::InferError;
    use tensorforge_core::Refused;
    let (model, version) = ("digits".into(), crate::config::Version::whole(1));
    let run = InferError::Run { model, version, source: RunError::Refused(Refused::Late) };
    for late in [InferError::from(DemandError::Late), run] {
        let bench = bench(&[Does::Says(late.into())], DIGITS);
        bench.send().await.unwrap_err();
        let told = Told::by(&bench.gateway);
        assert_eq!(told.counted("requests_total", OF_DIGITS), counts([("timed_out", 1)]));
        assert_eq!(told.counted("attempts_total", OF_DIGITS), counts([("late", 1)]));
    }
}

#[tokio::test(start_paused = true)]
async fn times_are_those_that_passed_and_what_is_under_way_is_outstanding() {
    let bench = bench(&[Does::Takes(Duration::from_millis(30))], DIGITS);
    for _ in 0..3 {
        bench.send().await.unwrap();
    }
    let endpoint = "model=\"digits\",endpoint=\"a\"";
    let under_way = bench.send();
    let mut under_way = std::pin::pin!(under_way);
    let not_yet = tokio::time::timeout(Duration::from_millis(10), under_way.as_mut()).await;
    assert!(not_yet.is_err());
    let told = Told::by(&bench.gateway);
    assert_eq!(told.one("outstanding_attempts", endpoint), 1.0);
    assert_eq!(told.sum("requests_total", OF_DIGITS), 3.0, "it has not ended");
    under_way.await.unwrap();
    let told = Told::by(&bench.gateway);
    assert_eq!(told.one("outstanding_attempts", endpoint), 0.0);
    for (family, labels) in
        [("request_duration_seconds", OF_DIGITS), ("attempt_duration_seconds", endpoint)]
    {
        assert_eq!(told.one(&format!("{family}_sum"), labels), 0.12);
        let within = |bound: &str| {
            told.one(&format!("{family}_bucket"), &format!("{labels},le=\"{bound}\""))
        };
        assert_eq!(["0.025", "0.05", "+Inf"].map(within), [0.0, 4.0, 4.0], "{family}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_has_no_room_or_not_the_model_is_excluded_as_answers_tell() {
    let limited = entry("a") + "limit = 1\n" + DIGITS;
    let nobody_waits = GatewayOptions { max_waiting: 0, ..GatewayOptions::default() };
    let does = [Does::Takes(Duration::from_secs(1)), Does::Answers];
    let bench = bench_with(&does, DIGITS, nobody_waits);
    bench.publish(&limited).unwrap();
    let (first, second) = tokio::join!(bench.send(), bench.send());
    first.unwrap();
    assert!(matches!(second, Err(GatewayError::Overloaded { .. })), "{second:?}");
    let told = Told::by(&bench.gateway);
    let ended = told.counted("requests_total", OF_DIGITS);
    assert_eq!(ended, counts([("answered", 1), ("overloaded", 1)]));
    assert_eq!(told.counted("exclusions_total", OF_DIGITS), counts([("full", 1)]));

    *lock(&bench.fake("a").does) = Does::Says(status(404));
    bench.publish(&(entry("a") + &entry("b") + DIGITS)).unwrap();
    bench.gateway.probe().await;
    assert_eq!(bench.send().await.unwrap().1.excluded, [("a".to_owned(), "not_loaded")]);
    let told = Told::by(&bench.gateway);
    let excluded = told.counted("exclusions_total", OF_DIGITS);
    assert_eq!(excluded, counts([("full", 1), ("not_loaded", 1)]));
    assert_eq!(told.one("endpoint_weight", "model=\"digits\",endpoint=\"a\""), 0.0);
}

#[tokio::test(start_paused = true)]
async fn hedges_those_that_won_and_those_that_lost_are_counted() {
    let bench = bench(&[Does::Answers, Does::Answers], IN_TURN);
    for _ in 0..300 {
        bench.send().await.unwrap();
    }
    *lock(&bench.fake("a").does) = Does::Hangs;
    let mut hedged = 0;
    for _ in 0..50 {
        hedged += u32::from(bench.send().await.unwrap().1.hedged);
    }
    let told = Told::by(&bench.gateway);
    assert!(hedged > 0);
    assert_eq!(told.one("hedges_total", OF_DIGITS), f64::from(hedged));
    assert_eq!(told.one("hedge_wins_total", OF_DIGITS), f64::from(hedged), "a answers nobody");
    let lost = "model=\"digits\",endpoint=\"a\",outcome=\"canceled\"";
    assert_eq!(told.one("attempts_total", lost), f64::from(hedged));
    let answered = "model=\"digits\",outcome=\"answered\"";
    assert_eq!(told.one("requests_total", answered), 350.0);
}

#[tokio::test]
async fn retries_that_are_refused_say_why() {
    let bench = bench(&[down(), down(), down(), down()], IN_TURN);
    for _ in 0..200 {
        bench.send().await.unwrap_err();
    }
    let told = Told::by(&bench.gateway);
    let refused = told.counted("refused_retries_total", OF_DIGITS);
    assert!(refused["too_often"] > 0 && refused["no_budget"] > 0, "{refused:?}");
    // Each request was refused another try at its end, or found nobody left to try.
    assert!(refused.values().sum::<u64>() <= 200);
    let failed = told.sum("attempts_total", OF_DIGITS);
    assert_eq!(failed, 200.0 + told.one("retries_total", OF_DIGITS));
}

#[tokio::test]
async fn exclusions_and_reasons_are_those_that_answers_tell() {
    let bench = bench(&[Does::Answers, Does::Answers, Does::Answers], IN_TURN);
    let table = entry("a") + "state = \"draining\"\n" + &entry("b") + &entry("c") + IN_TURN;
    bench.publish(&table).unwrap();
    let (mut excluded, mut picked) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..50 {
        let (_, taken) = bench.send().await.unwrap();
        taken.excluded.iter().for_each(|(_, why)| add(&mut excluded, why, 1));
        add(&mut picked, taken.reason, 1);
    }
    let told = Told::by(&bench.gateway);
    assert_eq!(told.counted("exclusions_total", OF_DIGITS), excluded);
    assert_eq!(excluded, counts([("draining", 50)]));
    assert_eq!(told.counted("picks_total", OF_DIGITS), picked);
    assert_eq!(told.counted("admissions_total", OF_DIGITS), counts([("healthy", 50)]));
    let drains = "model=\"digits\",endpoint=\"a\",health=\"draining\"";
    assert_eq!(told.one("endpoint_health", drains), 1.0);
}

#[tokio::test]
async fn an_endpoints_figures_outlive_tables_and_go_with_it() {
    let bench = bench(&[down(), Does::Answers], IN_TURN);
    for _ in 0..30 {
        bench.send().await.unwrap();
    }
    bench.settle().await;
    let before = Told::by(&bench.gateway);
    let a = "model=\"digits\",endpoint=\"a\"";
    let failed = before.one("attempts_total", &format!("{a},outcome=\"unreachable\""));
    assert_eq!(failed, bench.fake("a").asked() as f64);
    assert_eq!(before.one("ejections_total", a), 1.0);
    assert_eq!(before.one("endpoint_weight", a), 0.1, "it starts slowly");
    assert_eq!(before.one("endpoint_ramp_ratio", a), 0.1);

    bench.publish(&(entry("a") + &entry("b") + IN_TURN)).unwrap();
    let after = Told::by(&bench.gateway);
    let same = |series: &&String| series.contains("_total") || series.contains("_seconds");
    for series in before.0.keys().filter(same) {
        assert_eq!(after.0.get(series), before.0.get(series), "{series}");
    }
    // A table that is refused changes nothing either.
    bench.publish(&(entry("nowhere") + IN_TURN)).unwrap_err();
    bench.publish(&(entry("b") + IN_TURN)).unwrap();
    let left = Told::by(&bench.gateway);
    assert!(left.0.keys().all(|series| !series.contains("endpoint=\"a\"")));
    assert_eq!(left.one("requests_total", "model=\"digits\",outcome=\"answered\""), 30.0);
    let other = entry("b") + &IN_TURN.replace("digits", "letters");
    bench.publish(&other).unwrap();
    let gone = Told::by(&bench.gateway);
    assert!(gone.0.keys().all(|series| !series.contains("digits")));
    bench.publish(&(entry("a") + IN_TURN)).unwrap();
    assert_eq!(Told::by(&bench.gateway).sum("attempts_total", OF_DIGITS), 0.0, "it is met anew");
}

#[tokio::test]
async fn versions_of_a_split_and_experiments_tell_what_their_requests_came_to() {
    let bench = bench(&[Does::Fails("2")], EXPERIMENT);
    let (mut sent, mut answered) = (0, 0);
    while bench.gateway.experiments()[0].verdict == "continue" {
        sent += 1;
        answered += u64::from(bench.send().await.is_ok());
    }
    let experiment = bench.gateway.experiments().remove(0);
    let told = Told::by(&bench.gateway);
    assert_eq!(told.one("experiment_verdict", "model=\"digits\",verdict=\"stop\""), 1.0);
    assert_eq!(told.one("experiment_verdict", "model=\"digits\",verdict=\"continue\""), 0.0);
    for (arm, figures) in [("control", &experiment.control), ("candidate", &experiment.candidate)] {
        let version = &figures.version;
        let labels = format!("model=\"digits\",version=\"{version}\",arm=\"{arm}\"");
        let requests = told.one("experiment_requests_total", &labels);
        assert_eq!(requests, figures.requests as f64);
        let successes = told.one("experiment_successes_total", &labels);
        assert_eq!(successes, if arm == "control" { requests } else { 0.0 });
    }
    let p = told.one("experiment_p_value", "model=\"digits\",claim=\"worse\"");
    assert_eq!(p, experiment.p_worse);
    // The verdict has sent everyone to the control; its figures have gone on meanwhile.
    let arm = "model=\"digits\",version=\"1\"";
    assert_eq!(told.one("split_requests_total", arm), experiment.control.requests as f64);
    assert_eq!(told.one("split_request_duration_seconds_count", arm), answered as f64);
    assert!(sent > answered);
    assert!(
        told.0.keys().all(|series| !series.contains("split") || !series.contains("version=\"2\""))
    );
}

#[tokio::test]
async fn shadows_tell_at_metrics_what_they_tell_elsewhere() {
    let models = SHADOWED.replace("percent = 100 }", "percent = 100, answers = \"compare\" }");
    let bench = bench(&[Does::Answers, Does::Answers], &models);
    for does in [Does::Answers, Does::LosesOutputs, down()] {
        *lock(&bench.fake("b").does) = does;
        let before = bench.gateway.shadows().remove(0);
        for _ in 0..10 {
            bench.send_with(json!({ "priority": 7 }), &[]).await.unwrap();
        }
        let over = |now: &ShadowFigures| now.answered + now.failed + now.shed;
        while over(&bench.gateway.shadows()[0]) < over(&before) + 10 {
            tokio::task::yield_now().await;
        }
    }
    let figures = bench.gateway.shadows().remove(0);
    let told = Told::by(&bench.gateway);
    let shadow = "model=\"digits\",shadow=\"next\"";
    for (name, expected) in [
        ("copies", figures.copies),
        ("shed", figures.shed),
        ("failed", figures.failed),
        ("answered", figures.answered),
        ("compared", figures.compared),
        ("agreed", figures.agreed),
    ] {
        assert_eq!(told.one(&format!("shadow_{name}_total"), shadow), expected as f64, "{name}");
    }
    assert_eq!(figures.copies + figures.shed, 30);
    assert_eq!(figures.answered + figures.failed, figures.copies);
    let delta = told.one("shadow_latency_delta_seconds", shadow);
    assert!((delta * 1e3 - figures.latency_delta_ms.unwrap()).abs() < 1e-9);
    // Copies are no requests of their model here, and stand behind those of users where they go.
    assert_eq!(told.sum("attempts_total", "model=\"next\""), 0.0);
    assert!(lock(&bench.fake("b").asked).iter().all(|(_, _, said)| said["priority"] == 0));
    assert!(lock(&bench.fake("a").asked).iter().all(|(_, _, said)| said["priority"] == 7));
}

#[tokio::test]
async fn a_copy_that_comes_counts_apart_and_goes_no_further() {
    let models =
        SHADOWED.replace("shadows", "split = [{ version = \"1\", basis_points = 10000 }]\nshadows");
    let bench = bench(&[Does::Answers, Does::Answers], &models);
    bench.send().await.unwrap();
    bench.settle().await;
    let users = Told::by(&bench.gateway);
    for _ in 0..5 {
        let (_, taken) = bench.send_with(json!({ SHADOW: true }), &[]).await.unwrap();
        assert_eq!(taken.shadows, 0, "a copy is not copied");
    }
    let told = Told::by(&bench.gateway);
    let is_counter = |series: &&String| series.contains("_total") || series.contains("_count");
    for series in users.0.keys().filter(is_counter).filter(|series| !series.contains("shadow_")) {
        assert_eq!(told.0[series], users.0[series], "{series}");
    }
    let copies =
        |family: &str, labels: &str| told.one(family, &format!("{labels},shadow=\"true\""));
    let answered =
        told.one("requests_total", "model=\"digits\",shadow=\"true\",outcome=\"answered\"");
    assert_eq!(answered, 5.0);
    assert_eq!(copies("first_attempts_total", OF_DIGITS), 5.0);
    let a = "model=\"digits\",endpoint=\"a\"";
    assert_eq!(copies("attempt_duration_seconds_count", a), 5.0);
    assert_eq!(told.one("kept_answers", ""), 1.0, "the user's");
    // Only a plain `true` says so.
    for other in [json!("true"), json!(1), json!(false)] {
        bench.send_with(json!({ SHADOW: other }), &[]).await.unwrap();
    }
    let told = Told::by(&bench.gateway);
    assert_eq!(told.one("requests_total", "model=\"digits\",outcome=\"answered\""), 4.0);
}

#[tokio::test]
async fn a_copy_gets_no_room_that_is_kept_for_high_priorities() {
    let bench = bench(&[Does::Answers], DIGITS);
    bench.publish(&(entry("a") + "least_priority = 5\n" + DIGITS)).unwrap();
    bench.send_with(json!({ "priority": 7 }), &[]).await.unwrap();
    let claim = json!({ "priority": 7, SHADOW: true });
    bench.send_with(claim, &[]).await.unwrap_err();
    assert_eq!(bench.fake("a").asked(), 1);
}
