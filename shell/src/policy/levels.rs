//! The levels by name.

use tensorforge_core::policy::Level;

/// Failures at once that are a burst.
const BURST: usize = 2;

fn level(name: &str) -> Level {
    Level::from_name(name).unwrap_or_default()
}

/// What a level means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyMetadata {
    /// Its name.
    pub name: &'static str,
    /// In a few words.
    pub description: &'static str,
    /// How often what failed may be tried again.
    pub max_retries: usize,
}

const fn metadata(level: Level, description: &'static str) -> PolicyMetadata {
    let max_retries = level.max_retries() as usize;
    PolicyMetadata { name: level.name(), description, max_retries }
}

static METADATA: [PolicyMetadata; 4] = [
    metadata(Level::Normal, "all requests are served"),
    metadata(Level::Watch, "closely watched: smaller batches, shorter waits"),
    metadata(Level::Restricted, "only what matters is served"),
    metadata(Level::Halted, "nothing is served"),
];

static NAMES: [&str; 4] = ["normal", "watch", "restricted", "halted"];

/// One level up from a burst of 2 failures; the same level below that, and at the top.
#[must_use]
pub fn next_policy(current: &str, failure_burst: usize) -> &'static str {
    let level = level(current);
    if failure_burst >= BURST { level.up().name() } else { level.name() }
}

/// One level down; the lowest stays.
#[must_use]
pub fn previous_policy(current: &str) -> &'static str {
    level(current).down().name()
}

/// Whether so many successes in a row allow a step down: 5 at `watch`, 7 at `restricted`, 10 at `halted`.
/// Never at `normal`.
#[must_use]
pub fn should_deescalate(success_streak: usize, current: &str) -> bool {
    level(current).streak_down().is_some_and(|streak| success_streak >= streak as usize)
}

/// What a level means; `None` for a name that is none.
#[must_use]
pub fn get_metadata(name: &str) -> Option<&'static PolicyMetadata> {
    METADATA.iter().find(|metadata| metadata.name == name)
}

/// The names of the levels, from the lowest.
#[must_use]
pub fn all_policies() -> &'static [&'static str] {
    &NAMES
}

/// The place of a level, from 0; `None` for a name that is none.
#[must_use]
pub fn policy_index(policy: &str) -> Option<usize> {
    Level::from_name(policy).map(|level| level as usize)
}

/// How often what failed may be tried again: 3, 2, 1, 0. 1 for a name that is none.
#[must_use]
pub fn max_retries_for_policy(policy: &str) -> usize {
    Level::from_name(policy).map_or(1, |level| level.max_retries() as usize)
}

/// How many times as long a cooldown is: 1, 2, 4, 8. 1 for a name that is none.
#[must_use]
pub fn cooldown_multiplier(policy: &str) -> u64 {
    Level::from_name(policy).map_or(1, Level::cooldown_multiplier)
}

/// How much is restricted: 1.0 at `normal` to 4.0 at `halted`. 0.0 for a name that is none.
#[must_use]
pub fn policy_weight(policy: &str) -> f64 {
    Level::from_name(policy).map_or(0.0, |level| f64::from(level as u8) + 1.0)
}

/// How much of a cooldown is left at `now`. An earlier `now` than the change has all of it left.
#[must_use]
pub fn cooldown_remaining(last_change_at: u64, now: u64, cooldown: u64) -> u64 {
    cooldown.saturating_sub(now.saturating_sub(last_change_at))
}

/// As [`next_policy`], but the same level as long as `now` is less than `min_cooldown` after the last
/// change.
///
/// ```
/// use tensorforge::policy::escalation_with_cooldown;
///
/// assert_eq!(escalation_with_cooldown("watch", 5, 100, 129, 30), "watch");
/// assert_eq!(escalation_with_cooldown("watch", 5, 100, 130, 30), "restricted");
/// ```
#[must_use]
pub fn escalation_with_cooldown(
    current: &str,
    failure_burst: usize,
    last_change_at: u64,
    now: u64,
    min_cooldown: u64,
) -> &'static str {
    if now.saturating_sub(last_change_at) < min_cooldown {
        return level(current).name();
    }
    next_policy(current, failure_burst)
}
