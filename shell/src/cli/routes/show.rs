//! A table as a server tells it, for people.

use super::super::Output;
use super::super::output::table;
use serde_json::Value;

/// Prints versions, endpoints and models.
pub(super) fn show(told: &Value, output: Output) {
    if output.is_json() {
        return output.json(told);
    }
    let versions: Vec<String> = list(&told["versions"])
        .filter(|version| *version != &told["version"])
        .map(Value::to_string)
        .collect();
    let earlier = match &versions[..] {
        [] => String::new(),
        earlier => format!(" (kept for a rollback: {})", earlier.join(", ")),
    };
    output.text(&format!("version {}{earlier}\n", told["version"]));
    output.text(&endpoints(told));
    if list(&told["routes"]["models"]).next().is_some() {
        output.text(&format!("\n{}", models(told)));
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> + Clone {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn endpoints(told: &Value) -> String {
    let head = ["ENDPOINT", "URL", "PLACE", "WEIGHT", "HEALTH", "REQUESTS"];
    let mut rows = vec![head.map(str::to_owned)];
    for standing in list(&told["standings"]) {
        // One that has left the table is no longer written there.
        let here = standing["health"] != "gone";
        let entry = list(&told["routes"]["endpoints"])
            .find(|entry| here && entry["name"] == standing["name"]);
        let of = |key: &str| entry.map_or(&Value::Null, |entry| &entry[key]);
        let drained = if standing["drained"] == true { ", drained" } else { "" };
        rows.push([
            text(&standing["name"]),
            text(of("url")),
            text(of("place")),
            of("weight").as_f64().map_or_else(|| "-".into(), |weight| weight.to_string()),
            text(&standing["health"]) + drained,
            standing["outstanding"].to_string(),
        ]);
    }
    table(&rows)
}

fn models(told: &Value) -> String {
    let head = ["MODEL", "POLICY", "SPLIT", "SHADOWS", "FALLBACKS"];
    let mut rows = vec![head.map(str::to_owned)];
    let or_none = |parts: Vec<String>| if parts.is_empty() { "-".into() } else { parts.join(", ") };
    for entry in list(&told["routes"]["models"]) {
        let split = list(&entry["split"]).map(|share| {
            let percent = share["basis_points"].as_f64().unwrap_or_default() / 100.0;
            format!("{} {percent} %", text(&share["version"]))
        });
        let shadows = list(&entry["shadows"]).map(|shadow| {
            let of = |key: &str| shadow[key].as_str();
            let model = of("model").or_else(|| entry["name"].as_str()).unwrap_or("-");
            let version = of("version").map(|version| format!("/{version}")).unwrap_or_default();
            format!("{model}{version} {} %", shadow["percent"])
        });
        let filters = list(&entry["filters"]).map(|filter| text(filter) + ", ");
        rows.push([
            text(&entry["name"]),
            filters.collect::<String>() + &text(&entry["policy"]),
            or_none(split.collect()),
            or_none(shadows.collect()),
            or_none(list(&entry["fallbacks"]).map(text).collect()),
        ]);
    }
    table(&rows)
}
