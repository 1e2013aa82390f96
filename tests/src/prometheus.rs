//! A strict reader of Prometheus' text format 0.0.4: what it does not know for certain it refuses.

use std::collections::{BTreeMap, BTreeSet};

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// A metric family.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// What its `HELP` line says.
    pub help: String,
    /// (name, labels, value), in the order of the text.
    pub samples: Vec<(String, Labels, f64)>,
}

/// The families by name.
#[derive(Clone, Debug, Default)]
pub struct Metrics(pub BTreeMap<String, Family>);

impl Metrics {
    /// All samples of this name with at least these labels: (labels, value).
    #[must_use]
    pub fn samples(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(&Labels, f64)> {
        let fits = |has: &Labels| {
            labels.iter().all(|(name, value)| has.get(*name).is_some_and(|has| has == value))
        };
        let samples = self.0.values().flat_map(|family| &family.samples);
        let fitting = samples.filter(|(of, has, _)| of == name && fits(has));
        fitting.map(|(_, labels, value)| (labels, *value)).collect()
    }

    /// What the samples of this name with at least these labels add up to: 0 for none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name, labels).into_iter().map(|(_, value)| value).sum()
    }

    /// The value of the one sample of this name with at least these labels.
    ///
    /// # Panics
    /// When there is none, or several.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.samples(name, labels);
        assert_eq!(found.len(), 1, "{name} with {labels:?}: {found:?}");
        found[0].1
    }
}

/// Reads a whole text.
///
/// # Errors
/// The line that breaks a rule, and the rule.
pub fn parse(text: &str) -> Result<Metrics, String> {
    if !text.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    let mut metrics = Metrics::default();
    let mut current: Option<(String, Family)> = None;
    let mut seen = BTreeSet::new();
    for line in text.trim_end_matches('\n').split('\n') {
        let at = |rule: &str| format!("{rule}: {line:?}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| at("HELP says nothing"))?;
            if let Some((name, family)) = current.take() {
                close(&mut metrics, name, family)?;
            }
            if metrics.0.contains_key(name) {
                return Err(at("a family comes twice"));
            }
            let family = Family { help: unescape(help, false)?, ..Family::default() };
            current = Some((metric_name(name)?, family));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| at("TYPE says nothing"))?;
            let (of, family) = current.as_mut().ok_or_else(|| at("TYPE without HELP"))?;
            if of != name || !family.kind.is_empty() || !family.samples.is_empty() {
                return Err(at("TYPE is of another family, a second one, or late"));
            }
            if !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(at("an unknown type"));
            }
            family.kind = kind.into();
        } else {
            let (name, labels, value) = sample(line).map_err(|rule| at(&rule))?;
            let (of, family) = current.as_mut().ok_or_else(|| at("a sample without TYPE"))?;
            let suffixes: &[&str] = match &*family.kind {
                "" => return Err(at("a sample without TYPE")),
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            if !suffixes.iter().any(|suffix| name == format!("{of}{suffix}")) {
                return Err(at("a sample of another family"));
            }
            if !seen.insert((name.clone(), labels.clone())) {
                return Err(at("a sample comes twice"));
            }
            family.samples.push((name, labels, value));
        }
    }
    if let Some((name, family)) = current {
        close(&mut metrics, name, family)?;
    }
    Ok(metrics)
}

/// Checks what can only be seen of a whole family, and keeps it.
fn close(metrics: &mut Metrics, name: String, family: Family) -> Result<(), String> {
    if family.kind.is_empty() {
        return Err(format!("{name} has no TYPE"));
    }
    if (family.kind == "counter") != name.ends_with("_total") {
        return Err(format!("{name}: counters end in _total, and nothing else does"));
    }
    let negative = family.samples.iter().any(|(_, _, value)| *value < 0.0 || value.is_nan());
    if negative && family.kind != "gauge" {
        return Err(format!("{name}: counters count up from 0"));
    }
    if family.kind == "histogram" {
        // What stands behind the family's name, the bucket's bound, the value.
        type Sample<'a> = (&'a str, Option<f64>, f64);
        let mut series: BTreeMap<Labels, Vec<Sample<'_>>> = BTreeMap::new();
        for (of, labels, value) in &family.samples {
            let mut labels = labels.clone();
            let bound = match labels.remove("le") {
                None => None,
                Some(bound) => Some(number(&bound)?),
            };
            series.entry(labels).or_default().push((&of[name.len()..], bound, *value));
        }
        for (labels, samples) in series {
            let wrong = |rule: &str| Err(format!("{name}{labels:?}: {rule}: {samples:?}"));
            let [buckets @ .., sum, count] = &samples[..] else { return wrong("too few samples") };
            if (sum.0, sum.1) != ("_sum", None) || (count.0, count.1) != ("_count", None) {
                return wrong("buckets, sum and count come in this order");
            }
            if buckets.iter().any(|bucket| bucket.0 != "_bucket" || bucket.1.is_none()) {
                return wrong("a bucket has a bound, and nothing else has one");
            }
            if samples.iter().any(|of| of.0 != "_sum" && of.2.fract() != 0.0) {
                return wrong("what is counted is whole");
            }
            if !buckets.is_sorted_by(|a, b| a.1 < b.1 && a.2 <= b.2) {
                return wrong("buckets are in order and cumulative");
            }
            match buckets.last() {
                Some(last) if last.1 == Some(f64::INFINITY) && last.2 == count.2 => {}
                _ => return wrong("the last bucket is +Inf and holds the count"),
            }
        }
    }
    metrics.0.insert(name, family);
    Ok(())
}

fn sample(line: &str) -> Result<(String, Labels, f64), String> {
    let name_end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a value")?;
            let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let bad_start =
                label.starts_with("__") || label.starts_with(|c: char| c.is_ascii_digit());
            if label.is_empty() || bad_start || !label.chars().all(good) {
                return Err(format!("a bad label name {label:?}"));
            }
            let end = closing_quote(after).ok_or("a label's value does not end")?;
            let value = unescape(&after[..end], true)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err(format!("the label {label} twice"));
            }
            rest = &after[end + 1..];
            match rest.chars().next() {
                Some(',') => rest = &rest[1..],
                Some('}') => break,
                _ => return Err("neither , nor } after a label".into()),
            }
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').ok_or("one space comes before the value")?;
    Ok((metric_name(name)?, labels, number(value)?))
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}

fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match characters.next() {
            Some('\\') => plain.push('\\'),
            Some('n') => plain.push('\n'),
            Some('"') if quotes => plain.push('"'),
            other => return Err(format!("no such escape: {other:?}")),
        }
    }
    Ok(plain)
}

fn metric_name(name: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let digit_first = name.starts_with(|c: char| c.is_ascii_digit());
    let bad = name.is_empty() || digit_first || !name.chars().all(good);
    if bad { Err(format!("a bad name {name:?}")) } else { Ok(name.into()) }
}

fn number(text: &str) -> Result<f64, String> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            text.parse().map_err(|_| format!("no number: {text:?}"))
        }
        _ => Err(format!("no number: {text:?}")),
    }
}
