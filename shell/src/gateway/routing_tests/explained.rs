//! What an explanation shows of room, places and presence.

use super::*;

#[tokio::test]
async fn an_explanation_shows_places_limits_and_who_has_the_model() {
    let bench = bench(&[Does::Answers, Does::Says(status(404)), Does::Answers], DIGITS);
    let table = "places = [\"eu/a\", \"us\"]\nhere = \"eu/a\"\n".to_owned()
        + &entry("a")
        + "place = \"us\"\n"
        + &entry("b")
        + "place = \"eu/a\"\nlimit = 7\nleast_priority = 2\n"
        + &entry("c")
        + "place = \"eu/a\"\n"
        + "[[models]]\nname = \"digits\"\nfilters = [\"geographic\"]\n";
    bench.publish(&table).unwrap();
    bench.gateway.probe().await;
    let explained = bench.explain(json!({}));
    assert_eq!(explained.place.as_deref(), Some("eu/a"));
    assert_eq!(explained.notes, ["tier:zone"]);
    assert_eq!(explained.endpoint.as_deref(), Some("c"));
    let [a, b, c] = &explained.candidates[..] else { panic!("three") };
    assert_eq!((a.place.as_deref(), a.excluded), (Some("us"), Some("other_tier")));
    assert_eq!((b.loaded, b.excluded), (false, Some("not_loaded")));
    assert_eq!((b.limit, b.least_priority), (Some(7), 2));
    assert_eq!((c.loaded, c.limit, c.least_priority, c.excluded), (true, None, 0, None));
    assert_eq!(bench.explain(json!({ "place": "us" })).endpoint.as_deref(), Some("a"));
}

#[tokio::test]
async fn a_panic_is_told_with_how_many_are_healthy() {
    let bench = bench(&[Does::Answers], DIGITS);
    bench.fake("a").is_ready.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        bench.gateway.probe().await;
    }
    assert_eq!(bench.explain(json!({})).notes, ["panic:0.0%_healthy"]);
}
