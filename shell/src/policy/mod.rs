//! How much is allowed when things go wrong: four levels, by name.
//!
//! The functions say what follows from a level; [`PolicyEngine`] keeps one, with its history. What they
//! stand on, with bursts, streaks and cooldowns counted for you, is [`tensorforge_core::policy`].
//!
//! A name that is none of `normal`, `watch`, `restricted` and `halted` counts as `normal`, where nothing
//! else is said. No function panics or answers NaN.
//!
//! ```
//! use tensorforge::policy::{PolicyEngine, max_retries_for_policy, next_policy};
//!
//! assert_eq!(next_policy("normal", 2), "watch");
//! let policy = PolicyEngine::new();
//! assert_eq!(policy.escalate(3), "watch");
//! assert_eq!(policy.escalate(1), "watch"); // one failure is no burst
//! assert_eq!(max_retries_for_policy(&policy.current()), 2);
//! ```

mod engine;
mod levels;
mod risk;

#[cfg(test)]
mod workflow;

pub use engine::{HISTORY, PolicyChange, PolicyEngine};
pub use levels::{
    PolicyMetadata, all_policies, cooldown_multiplier, cooldown_remaining,
    escalation_with_cooldown, get_metadata, max_retries_for_policy, next_policy, policy_index,
    policy_weight, previous_policy, should_deescalate,
};
pub use risk::{
    aggregate_risk, check_sla_compliance, escalation_needed, risk_score, sla_percentage,
    within_grace_period,
};
