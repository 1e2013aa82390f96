//! Why routes are refused.

/// What makes no sense in [`Routes`](super::Routes). Each names the entry, such as `endpoints[1] 'gpu'`
/// (counted from 0), and says what would be right.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRoutes {
    /// A name that is needed is not there.
    #[error("{entry}: {key} is empty; give it a name")]
    Empty {
        /// The entry.
        entry: String,
        /// The key.
        key: &'static str,
    },
    /// A name that is none.
    #[error("{entry}: {key} is no name: {problem}")]
    Name {
        /// The entry.
        entry: String,
        /// The key.
        key: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The same name twice.
    #[error("{entry}: '{name}' is there already; rename it, or take one of the two out")]
    Duplicate {
        /// The second of the two.
        entry: String,
        /// Their name.
        name: String,
    },
    /// A number that is zero, negative, NaN, not whole or too large.
    #[error("{entry}: {key} is {value}; it must be {wanted}")]
    Number {
        /// The entry.
        entry: String,
        /// The key.
        key: &'static str,
        /// The number.
        value: f64,
        /// What it must be.
        wanted: &'static str,
    },
    /// Parts of the traffic that are not the whole of it.
    #[error("{entry}: the basis points of split add up to {sum}; they must add up to 10000")]
    SplitSum {
        /// The model.
        entry: String,
        /// The sum.
        sum: u64,
    },
    /// A place of no or too many levels.
    #[error(
        "{entry}: '{place}' is no place; write region, region/zone, and so on to rack and host"
    )]
    Place {
        /// The entry.
        entry: String,
        /// What is written there.
        place: String,
    },
    /// A place that is not declared: an endpoint's, or the gateway's own.
    #[error("{entry}: the place '{place}' is not known; add it to places, which has {known}")]
    UnknownPlace {
        /// The endpoint, or `here`.
        entry: String,
        /// The place.
        place: String,
        /// Those there are.
        known: String,
    },
    /// A model's fallback or shadow that has no routes.
    #[error("{entry}: no model '{model}' for {key}; add it to models, which has {known}")]
    UnknownModel {
        /// The model whose entry it is.
        entry: String,
        /// The key.
        key: &'static str,
        /// The model that is not there.
        model: String,
        /// Those there are.
        known: String,
    },
    /// An endpoint that is named and not there.
    #[error("{entry}: no endpoint '{endpoint}'; add it to endpoints, which has {known}")]
    UnknownEndpoint {
        /// The model or rule that names it.
        entry: String,
        /// The endpoint.
        endpoint: String,
        /// Those there are.
        known: String,
    },
    /// Fallbacks that lead back to where they began.
    #[error("the fallbacks {} go round in a circle; take one of them out", cycle.join(" -> "))]
    FallbackCycle {
        /// The models on the way, the first one again at the end.
        cycle: Vec<String>,
    },
    /// An address that nobody can be asked at.
    #[error("{entry}: the url '{url}' {problem}; write \"local\" or \"http://host:port\"")]
    Url {
        /// The endpoint.
        entry: String,
        /// What is written there.
        url: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A shadow that would do the same once more.
    #[error("{entry}: a shadow of the same model and version; name another version or model")]
    ShadowOfItself {
        /// The shadow.
        entry: String,
    },
    /// An experiment that cannot be made.
    #[error("{entry}: the experiment: {problem}")]
    Experiment {
        /// The model.
        entry: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A bandit that cannot be.
    #[error("{entry}: the bandit: {problem}")]
    Bandit {
        /// The model.
        entry: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A rule that looks at nothing, at two things, or sends nowhere.
    #[error("{entry}: {problem}")]
    Rule {
        /// The rule.
        entry: String,
        /// What is wrong and what would be right.
        problem: &'static str,
    },
    /// Something that is set and would change nothing.
    #[error("{entry}: {key} has no effect without {needs}; take it out, or add that")]
    WithoutEffect {
        /// The entry.
        entry: String,
        /// The key.
        key: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// A list that is too long.
    #[error("{key} has {count} entries; at most {most} are possible")]
    TooMany {
        /// The key, with its entry.
        key: String,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
}
