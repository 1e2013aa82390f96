//! From what is written to what is known to make sense.

use super::checked::{
    CheckedEndpoint, CheckedModel, CheckedRoutes, CheckedRule, CheckedShadow, Condition, LEVELS,
    VersionShare,
};
use super::error::InvalidRoutes;
use super::tuning::{self, Number, Tuning};
use super::{
    ALL_BASIS_POINTS, EndpointEntry, FilterName, ModelEntry, Routes, RuleEntry, ShadowAnswers,
    ShadowEntry,
};
use crate::routing::{Route, Tolerance};
use hashbrown::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// Most bytes of a name, a place, an address or a value.
pub const MAX_NAME: usize = 512;
/// Most [channels](Routes::channels).
pub const MAX_CHANNELS: usize = 65_536;
/// Most [endpoints](Routes::endpoints): as many as a policy looks at.
pub const MAX_ENDPOINTS: usize = 1024;
/// Most [places](Routes::places).
pub const MAX_PLACES: usize = 4096;
/// Most [models](Routes::models).
pub const MAX_MODELS: usize = 16_384;
/// Most versions in a split, and most fallbacks, shadows and rules, each, of one model.
pub const MAX_PER_MODEL: usize = 16;

/// Names of an error's list of what there is.
const NAMES_TOLD: usize = 8;
/// Characters of an entry's name in an error.
const CHARACTERS_TOLD: usize = 64;

impl Routes {
    /// Checks that all of it makes sense together.
    ///
    /// O(n) for n entries, but for sorting the channels.
    ///
    /// # Errors
    /// [`InvalidRoutes`] names the first entry that does not.
    pub fn check(&self) -> Result<CheckedRoutes, InvalidRoutes> {
        self.clone().into_checked()
    }

    /// [`check`](Self::check), for who needs them no more as they are written.
    ///
    /// # Errors
    /// [`InvalidRoutes`] names the first entry that makes no sense.
    pub fn into_checked(mut self) -> Result<CheckedRoutes, InvalidRoutes> {
        at_most("channels", self.channels.len(), MAX_CHANNELS)?;
        at_most("places", self.places.len(), MAX_PLACES)?;
        at_most("endpoints", self.endpoints.len(), MAX_ENDPOINTS)?;
        at_most("models", self.models.len(), MAX_MODELS)?;

        check_channels(&self.channels)?;
        let places = number_places(&self.places)?;
        if let Some(here) = &self.here {
            numbers_of("here", here, &places)?;
        }
        let (endpoints, endpoint_indices) = check_endpoints(&self.endpoints, &places)?;
        let places = places.into_iter().map(|(name, numbers)| (name.to_owned(), numbers)).collect();
        let models = check_models(&self.models, &endpoint_indices)?;
        if let Some(cycle) = fallback_cycle(&self.models) {
            return Err(InvalidRoutes::FallbackCycle { cycle });
        }
        let channels = std::mem::take(&mut self.channels).into_iter().map(Arc::new);
        let mut channels: Vec<_> = channels.collect();
        channels.sort_unstable_by(|a, b| a.channel.cmp(&b.channel));
        let written = self;
        Ok(CheckedRoutes { channels, written, places, endpoints, endpoint_indices, models })
    }
}

/// How an error names an entry of a list. Written out only where there is an error.
struct Entry<'a> {
    of: Option<&'a Entry<'a>>,
    list: &'static str,
    index: usize,
    /// None for an entry without a name of its own.
    name: &'a str,
}

impl<'a> Entry<'a> {
    const fn new(list: &'static str, index: usize, name: &'a str) -> Self {
        Self { of: None, list, index, name }
    }

    /// An entry of a list of this one.
    const fn within(&'a self, list: &'static str, index: usize) -> Self {
        Self { of: Some(self), list, index, name: "" }
    }

    fn is_there_already(&self) -> InvalidRoutes {
        InvalidRoutes::Duplicate { entry: self.to_string(), name: self.name.to_owned() }
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(of) = self.of {
            write!(f, "{of}: ")?;
        }
        write!(f, "{}[{}]", self.list, self.index)?;
        if self.name.is_empty() {
            return Ok(());
        }
        let told =
            self.name.char_indices().nth(CHARACTERS_TOLD).map_or(self.name.len(), |(at, _)| at);
        let more = if told < self.name.len() { "…" } else { "" };
        write!(f, " '{}{more}'", self.name[..told].escape_debug())
    }
}

fn at_most(key: impl Into<String>, count: usize, most: usize) -> Result<(), InvalidRoutes> {
    if count <= most {
        return Ok(());
    }
    Err(InvalidRoutes::TooMany { key: key.into(), count, most })
}

fn check_name(entry: &Entry<'_>, key: &'static str, name: &str) -> Result<(), InvalidRoutes> {
    let entry = || entry.to_string();
    if name.is_empty() {
        return Err(InvalidRoutes::Empty { entry: entry(), key });
    }
    let problem = if name.len() > MAX_NAME {
        format!("it has {} bytes; at most {MAX_NAME} are possible", name.len())
    } else if name.chars().any(char::is_control) {
        "it has control characters, such as line breaks; take them out".to_owned()
    } else if name.trim() != name {
        "it begins or ends with a space; take it out".to_owned()
    } else {
        return Ok(());
    };
    Err(InvalidRoutes::Name { entry: entry(), key, problem })
}

/// `value` as a whole number from 1 to `most`.
fn whole(
    entry: &Entry<'_>,
    key: &'static str,
    value: f64,
    most: u16,
    wanted: &'static str,
) -> Result<u16, InvalidRoutes> {
    // NaN is in no range.
    if (1.0..=f64::from(most)).contains(&value) && value.fract() == 0.0 {
        return Ok(value as u16);
    }
    Err(InvalidRoutes::Number { entry: entry.to_string(), key, value, wanted })
}

fn check_channels(channels: &[Route]) -> Result<(), InvalidRoutes> {
    let mut seen = HashSet::with_capacity(channels.len());
    for (index, route) in channels.iter().enumerate() {
        let entry = Entry::new("channels", index, &route.channel);
        check_name(&entry, "channel", &route.channel)?;
        if !seen.insert(route.channel.as_str()) {
            return Err(entry.is_there_already());
        }
    }
    Ok(())
}

/// The endpoints, and where each is among them.
fn check_endpoints(
    written: &[EndpointEntry],
    places: &HashMap<&str, [u16; LEVELS]>,
) -> Result<(Vec<CheckedEndpoint>, HashMap<String, usize>), InvalidRoutes> {
    let mut endpoints = Vec::with_capacity(written.len());
    let mut indices = HashMap::with_capacity(written.len());
    for (index, endpoint) in written.iter().enumerate() {
        let entry = Entry::new("endpoints", index, &endpoint.name);
        endpoints.push(check_endpoint(&entry, endpoint, places)?);
        if indices.insert(endpoint.name.clone(), index).is_some() {
            return Err(entry.is_there_already());
        }
    }
    Ok((endpoints, indices))
}

fn check_models(
    models: &[ModelEntry],
    endpoints: &HashMap<String, usize>,
) -> Result<HashMap<String, CheckedModel>, InvalidRoutes> {
    let mut names = HashSet::with_capacity(models.len());
    for (index, model) in models.iter().enumerate() {
        let entry = Entry::new("models", index, &model.name);
        check_name(&entry, "name", &model.name)?;
        if !names.insert(model.name.as_str()) {
            return Err(entry.is_there_already());
        }
    }
    let known = Known { models: &names, endpoints };
    let checked = models.iter().enumerate().map(|(index, model)| {
        let entry = Entry::new("models", index, &model.name);
        Ok((model.name.clone(), known.check_model(&entry, model)?))
    });
    checked.collect()
}

/// The numbers of each place's levels.
fn number_places(places: &[String]) -> Result<HashMap<&str, [u16; LEVELS]>, InvalidRoutes> {
    let mut numbered = HashMap::with_capacity(places.len());
    // By the text up to and including a level: its number, and how many levels below it have one.
    let mut levels: HashMap<&str, (u16, u16)> = HashMap::new();
    let mut regions = 0;
    for (index, place) in places.iter().enumerate() {
        let entry = Entry::new("places", index, place);
        check_name(&entry, "the place", place)?;
        let parts = place.split('/');
        if parts.clone().count() > LEVELS
            || parts.clone().any(|part| part.trim() != part || part.is_empty())
        {
            return Err(InvalidRoutes::Place { entry: entry.to_string(), place: place.clone() });
        }
        let mut numbers = [0; LEVELS];
        let mut above = None;
        let mut end = 0;
        for (number, part) in numbers.iter_mut().zip(parts) {
            end += part.len();
            let level = &place[..end];
            end += 1; // the slash
            *number = match levels.get(level) {
                Some((number, _)) => *number,
                None => {
                    let count = match above.and_then(|above| levels.get_mut(above)) {
                        Some((_, below)) => below,
                        None => &mut regions,
                    };
                    // At most MAX_PLACES.
                    *count += 1;
                    let number = *count;
                    levels.insert(level, (number, 0));
                    number
                }
            };
            above = Some(level);
        }
        if numbered.insert(place.as_str(), numbers).is_some() {
            return Err(entry.is_there_already());
        }
    }
    Ok(numbered)
}

/// The numbers of a place that is named.
fn numbers_of(
    entry: impl ToString,
    place: &str,
    places: &HashMap<&str, [u16; LEVELS]>,
) -> Result<[u16; LEVELS], InvalidRoutes> {
    places.get(place).copied().ok_or_else(|| InvalidRoutes::UnknownPlace {
        entry: entry.to_string(),
        place: place.to_owned(),
        known: names(places.keys().copied()),
    })
}

fn check_endpoint(
    entry: &Entry<'_>,
    endpoint: &EndpointEntry,
    places: &HashMap<&str, [u16; LEVELS]>,
) -> Result<CheckedEndpoint, InvalidRoutes> {
    check_name(entry, "name", &endpoint.name)?;
    check_name(entry, "url", &endpoint.url)?;
    if let Some(problem) = url_problem(&endpoint.url) {
        let (entry, url) = (entry.to_string(), endpoint.url.clone());
        return Err(InvalidRoutes::Url { entry, url, problem });
    }
    let place = match &endpoint.place {
        None => [0; LEVELS],
        Some(place) => numbers_of(entry, place, places)?,
    };
    let limit = Number {
        key: "limit",
        in_one: 1.0,
        range: 1.0..=1e6,
        wanted: "a whole number from 1 to 1000000; leave it out where there is none",
    };
    let least_priority = Number {
        key: "least_priority",
        in_one: 1.0,
        range: 0.0..=7.0,
        wanted: "a whole number from 0 to 7; with 0 all requests may go there",
    };
    let wanted =
        "a whole number from 1 to 65535; an endpoint that is to get nothing has state \"draining\"";
    Ok(CheckedEndpoint {
        name: endpoint.name.clone(),
        url: (endpoint.url != "local").then(|| endpoint.url.clone()),
        place,
        place_name: endpoint.place.clone(),
        weight: whole(entry, "weight", endpoint.weight, u16::MAX, wanted)?,
        state: endpoint.state,
        limit: limit.check(entry, endpoint.limit, u32::MAX)?,
        // At most 7.
        least_priority: least_priority.check(entry, endpoint.least_priority, 0)? as u8,
    })
}

fn url_problem(url: &str) -> Option<&'static str> {
    if url == "local" {
        return None;
    }
    let Ok(parsed) = url.parse::<hyper::http::Uri>() else { return Some("cannot be read") };
    if !matches!(parsed.scheme_str(), Some("http" | "https")) {
        return Some("does not begin with http:// or https://");
    }
    let authority = parsed.authority()?;
    if authority.as_str().contains('@') {
        return Some("has a name or password in it, which would end up in logs");
    }
    if authority.host().is_empty() || authority.as_str().ends_with(':') {
        return Some("lacks a host or port");
    }
    // Read apart from the number, which leaves a port beyond 65535 out without a word.
    if authority.port().is_none() && authority.as_str().len() > authority.host().len() {
        return Some("has a port that is none");
    }
    parsed.query().is_some().then_some("has a query, which would be in the way of the protocol's")
}

/// The first names of a list, for an error.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = all.collect();
    all.sort_unstable();
    let more = if all.len() > NAMES_TOLD { ", …" } else { "" };
    match all.get(..NAMES_TOLD.min(all.len())) {
        Some([]) | None => "none".to_owned(),
        Some(first) => format!("'{}'{more}", first.join("', '")),
    }
}

/// What entries of a model may refer to.
struct Known<'a> {
    models: &'a HashSet<&'a str>,
    endpoints: &'a HashMap<String, usize>,
}

impl Known<'_> {
    fn check_model(
        &self,
        entry: &Entry<'_>,
        model: &ModelEntry,
    ) -> Result<CheckedModel, InvalidRoutes> {
        for (key, count) in [
            ("split", model.split.len()),
            ("fallbacks", model.fallbacks.len()),
            ("shadows", model.shadows.len()),
            ("rules", model.rules.len()),
        ] {
            at_most(format!("{entry}: {key}"), count, MAX_PER_MODEL)?;
        }
        once(entry, model.endpoints.iter().map(String::as_str))?;
        once(entry, model.fallbacks.iter().map(String::as_str))?;
        once(entry, model.split.iter().map(|part| part.version.as_str()))?;
        once(
            entry,
            model.filters.iter().map(|filter| match filter {
                FilterName::Geographic => "geographic",
                FilterName::Priority => "priority",
                FilterName::Headroom => "headroom",
            }),
        )?;
        let endpoints = if model.endpoints.is_empty() {
            (0..self.endpoints.len()).collect()
        } else {
            let found = model.endpoints.iter().map(|name| self.endpoint(entry, name));
            found.collect::<Result<_, _>>()?
        };
        for fallback in &model.fallbacks {
            self.model(entry, "fallbacks", fallback)?;
        }
        let shadows = model.shadows.iter().enumerate().map(|(index, shadow)| {
            self.check_shadow(&entry.within("shadows", index), model, shadow)
        });
        let rules = model
            .rules
            .iter()
            .enumerate()
            .map(|(index, rule)| self.check_rule(&entry.within("rules", index), rule));
        let Tuning { health, retries, affinity, overprovision } = tuning::check(entry, model)?;
        let split = check_split(entry, model)?;
        Ok(CheckedModel {
            policy: model.policy,
            filters: model.filters.clone(),
            affinity,
            overprovision,
            health,
            retries,
            endpoints,
            fallbacks: model.fallbacks.clone(),
            experiment: super::experiment::check(entry, model)?,
            bandit: super::bandit::check(entry, model, &split)?,
            split,
            shadows: shadows.collect::<Result<_, _>>()?,
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    fn model(&self, entry: &Entry<'_>, key: &'static str, name: &str) -> Result<(), InvalidRoutes> {
        if self.models.contains(name) {
            return Ok(());
        }
        Err(InvalidRoutes::UnknownModel {
            entry: entry.to_string(),
            key,
            model: name.to_owned(),
            known: names(self.models.iter().copied()),
        })
    }

    fn endpoint(&self, entry: &Entry<'_>, name: &str) -> Result<usize, InvalidRoutes> {
        self.endpoints.get(name).copied().ok_or_else(|| InvalidRoutes::UnknownEndpoint {
            entry: entry.to_string(),
            endpoint: name.to_owned(),
            known: names(self.endpoints.keys().map(String::as_str)),
        })
    }

    fn check_shadow(
        &self,
        entry: &Entry<'_>,
        of: &ModelEntry,
        shadow: &ShadowEntry,
    ) -> Result<CheckedShadow, InvalidRoutes> {
        let model = shadow.model.as_ref().unwrap_or(&of.name);
        self.model(entry, "shadows", model)?;
        match &shadow.version {
            Some(version) => check_name(entry, "version", version)?,
            None if *model == of.name => {
                return Err(InvalidRoutes::ShadowOfItself { entry: entry.to_string() });
            }
            None => {}
        }
        let number = |key, value, wanted| InvalidRoutes::Number {
            entry: entry.to_string(),
            key,
            value,
            wanted,
        };
        let hundredths = (shadow.percent * 100.0).round();
        // 2.51 × 100 is not exactly 251.
        let is_whole = (shadow.percent * 100.0 - hundredths).abs() < 1e-6;
        if !(1.0..=f64::from(ALL_BASIS_POINTS)).contains(&hundredths) || !is_whole {
            return Err(number("percent", shadow.percent, "from 0.01 to 100 in steps of 0.01"));
        }
        let most_at_once = Number {
            key: "most_at_once",
            in_one: 1.0,
            range: 1.0..=65_535.0,
            wanted: "a whole number from 1 to 65535",
        };
        let shed_from = Number {
            key: "shed_from_percent",
            in_one: 10.0,
            range: 0.1..=1000.0,
            wanted: "from 0.1 to 1000 in steps of 0.1",
        };
        let default = Tolerance::default();
        let absolute = shadow.absolute_tolerance.unwrap_or(default.absolute());
        let relative = shadow.relative_tolerance.unwrap_or(default.relative());
        let tolerance = |absolute, relative, key, value| {
            Tolerance::new(absolute, relative)
                .ok_or_else(|| number(key, value, "a number of 0 or more"))
        };
        tolerance(absolute, 0.0, "absolute_tolerance", absolute)?;
        let both = tolerance(absolute, relative, "relative_tolerance", relative)?;
        Ok(CheckedShadow {
            model: model.clone(),
            version: shadow.version.clone(),
            basis_points: hundredths as u16,
            most_at_once: most_at_once.check(entry, shadow.most_at_once, 64)?,
            // At most 10,000.
            shed_from: shed_from.check(entry, shadow.shed_from_percent, 700)? as u16,
            compare: (shadow.answers == ShadowAnswers::Compare).then_some(both),
        })
    }

    fn check_rule(
        &self,
        entry: &Entry<'_>,
        rule: &RuleEntry,
    ) -> Result<CheckedRule, InvalidRoutes> {
        let problem = |problem| InvalidRoutes::Rule { entry: entry.to_string(), problem };
        let equals = rule.equals.clone();
        if let Some(value) = equals.as_ref().filter(|value| !value.is_empty()) {
            check_name(entry, "equals", value)?;
        }
        let condition = match (&rule.header, &rule.annotation) {
            (Some(name), None) => {
                check_name(entry, "header", name)?;
                let Ok(name) = name.parse::<hyper::http::HeaderName>() else {
                    return Err(problem(
                        "the header is no name of an HTTP header; write one such as x-canary",
                    ));
                };
                Condition::Header { name: name.as_str().to_owned(), equals }
            }
            (None, Some(name)) => {
                check_name(entry, "annotation", name)?;
                Condition::Annotation { name: name.clone(), equals }
            }
            (None, None) => {
                return Err(problem("looks at nothing; give it a header or an annotation"));
            }
            (Some(_), Some(_)) => {
                return Err(problem("has a header and an annotation; make two rules of it"));
            }
        };
        if let Some(version) = &rule.version {
            check_name(entry, "version", version)?;
        }
        let endpoint = rule.endpoint.as_ref().map(|name| self.endpoint(entry, name)).transpose()?;
        if rule.version.is_none() && endpoint.is_none() {
            return Err(problem("sends nowhere; give it a version or an endpoint"));
        }
        Ok(CheckedRule { condition, version: rule.version.clone(), endpoint })
    }
}

/// Refuses a name that comes twice in a model's list.
fn once<'a>(entry: &Entry<'_>, names: impl Iterator<Item = &'a str>) -> Result<(), InvalidRoutes> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            let (entry, name) = (entry.to_string(), name.to_owned());
            return Err(InvalidRoutes::Duplicate { entry, name });
        }
    }
    Ok(())
}

fn check_split(entry: &Entry<'_>, model: &ModelEntry) -> Result<Vec<VersionShare>, InvalidRoutes> {
    let mut shares = Vec::with_capacity(model.split.len());
    for (index, part) in model.split.iter().enumerate() {
        let entry = entry.within("split", index);
        check_name(&entry, "version", &part.version)?;
        let wanted = "a whole number from 1 to 10000; leave versions out that are to get nothing";
        let basis_points =
            whole(&entry, "basis_points", part.basis_points, ALL_BASIS_POINTS, wanted)?;
        shares.push(VersionShare { version: part.version.clone(), basis_points });
    }
    let sum = shares.iter().map(|share| u64::from(share.basis_points)).sum();
    if !shares.is_empty() && sum != u64::from(ALL_BASIS_POINTS) {
        return Err(InvalidRoutes::SplitSum { entry: entry.to_string(), sum });
    }
    Ok(shares)
}

/// The first way along fallbacks that comes back to a model on it, that model at both ends.
///
/// Depth first with a stack of its own, for thousands of models may stand in a row.
fn fallback_cycle(models: &[ModelEntry]) -> Option<Vec<String>> {
    let indices: HashMap<&str, usize> =
        models.iter().enumerate().map(|(index, model)| (model.name.as_str(), index)).collect();
    let mut is_done = vec![false; models.len()];
    // Where a model is on the way that is being followed.
    let mut at: Vec<Option<usize>> = vec![None; models.len()];
    for start in 0..models.len() {
        // Models on the way, each with the fallback to look at next.
        let mut way: Vec<(usize, usize)> = Vec::new();
        if !is_done[start] {
            at[start] = Some(0);
            way.push((start, 0));
        }
        while let Some((model, next)) = way.last_mut() {
            let fallback = models[*model].fallbacks.get(*next);
            let Some(fallback) = fallback.and_then(|name| indices.get(name.as_str())) else {
                is_done[*model] = true;
                at[*model] = None;
                way.pop();
                continue;
            };
            *next += 1;
            if let Some(begin) = at[*fallback] {
                let circle = way[begin..].iter().map(|(model, _)| *model).chain([*fallback]);
                return Some(circle.map(|model| models[model].name.clone()).collect());
            }
            if !is_done[*fallback] {
                at[*fallback] = Some(way.len());
                way.push((*fallback, 0));
            }
        }
    }
    None
}
