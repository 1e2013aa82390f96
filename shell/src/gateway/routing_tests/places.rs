//! Near endpoints first.

use super::*;

const AT_HOME: &str = "[[models]]\nname = \"digits\"\npolicy = \"round_robin\"\n\
                       filters = [\"geographic\"]\n";

/// `a` and `b` at home, `c` and `d` abroad.
fn in_two_regions(does: &[Does], models: &str, here: &str) -> Bench {
    let bench = bench(does, DIGITS);
    let entries = [("a", "eu/a"), ("b", "eu/a"), ("c", "us"), ("d", "us")];
    let entries: String = entries
        .iter()
        .take(does.len())
        .map(|(name, place)| entry(name) + &format!("place = \"{place}\"\n"))
        .collect();
    let head = format!("places = [\"eu/a\", \"eu/b\", \"us\"]\n{here}");
    bench.publish(&(head + &entries + models)).unwrap();
    bench
}

fn four(models: &str, here: &str) -> Bench {
    in_two_regions(&[Does::Answers, Does::Answers, Does::Answers, Does::Answers], models, here)
}

async fn regions(
    bench: &Bench,
    parameters: serde_json::Value,
    headers: &[(&str, &str)],
) -> [u32; 2] {
    let mut regions = [0; 2];
    for _ in 0..40 {
        let (_, taken) = bench.send_with(parameters.clone(), headers).await.unwrap();
        let is_abroad = matches!(taken.endpoint.as_deref(), Some("c" | "d"));
        regions[usize::from(is_abroad)] += 1;
    }
    regions
}

const HERE: &str = "here = \"eu/a\"\n";

#[tokio::test]
async fn requests_stay_where_the_gateway_stands_unless_they_say_otherwise() {
    let bench = four(AT_HOME, HERE);
    assert_eq!(regions(&bench, json!({}), &[]).await, [40, 0]);
    assert_eq!(regions(&bench, json!({ "place": "us" }), &[]).await, [0, 40]);
    let header = [("x-tensorforge-place", "us")];
    assert_eq!(regions(&bench, json!({}), &header).await, [0, 40]);
    assert_eq!(regions(&bench, json!({ "place": "eu/b" }), &header).await, [40, 0]);
    let (_, taken) = bench.send().await.unwrap();
    assert_eq!(taken.parameters()["route_notes"], "tier:zone");
    assert_eq!(taken.excluded[0].1, "other_tier");
}

#[tokio::test]
async fn a_gateway_that_stands_nowhere_goes_anywhere() {
    let bench = four(AT_HOME, "");
    assert_eq!(regions(&bench, json!({}), &[]).await, [20, 20]);
}

#[tokio::test]
async fn a_place_that_the_table_does_not_know_is_dropped_and_counted() {
    let bench = four(AT_HOME, HERE);
    assert_eq!(regions(&bench, json!({ "place": "moon" }), &[]).await, [40, 0]);
    assert_eq!(bench.gateway.dropped_annotations(), 40);
    let huge = "x".repeat(1 << 20);
    assert_eq!(regions(&bench, json!({ "place": huge }), &[]).await, [40, 0]);
    assert_eq!(bench.gateway.dropped_annotations(), 80, "once each");
}

#[tokio::test]
async fn what_the_near_cannot_carry_overflows_by_the_factor_that_is_set() {
    // Half of the near ones are gone: those that are left carry 70 % with 1.4, and all with 2.
    // 600 of 2,000, within nine standard deviations of a draw.
    for (factor, overflow) in [("", 415..=785), ("geographic = { overprovision = 2 }\n", 0..=0)] {
        let bench = four(&(AT_HOME.to_owned() + factor), HERE);
        bench.fake("a").is_ready.store(false, Ordering::Relaxed);
        for _ in 0..3 {
            bench.gateway.probe().await;
        }
        for _ in 0..2_000 {
            bench.send().await.unwrap();
        }
        let abroad = bench.fake("c").asked() + bench.fake("d").asked();
        assert!(overflow.contains(&abroad), "{factor}: {abroad}");
        assert_eq!(bench.fake("a").asked(), 0);
    }
}

#[tokio::test]
async fn a_near_endpoint_that_has_not_got_the_model_is_no_part_of_what_the_near_carry() {
    let lacks = Does::Says(status(404));
    let bench = in_two_regions(&[lacks, Does::Answers, Does::Answers], AT_HOME, HERE);
    bench.gateway.probe().await;
    assert_eq!(regions(&bench, json!({}), &[]).await, [40, 0]);
    assert_eq!(bench.fake("a").asked(), 0);
}
