//! Events that come twice, out of order and again, and what they come to.

use std::collections::{HashMap, HashSet};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// To what it happened.
    pub id: String,
    /// Where it belongs in the order of all events.
    pub sequence: i64,
}

/// What is left when all of `events` have happened: the last event of each id, by sequence and then
/// id. Neither order nor repetition of `events` matter. O(n log n).
///
/// ```
/// use tensorforge::resilience::{Event, replay};
///
/// let event = |id: &str, sequence| Event { id: id.to_string(), sequence };
/// let events = [event("a", 2), event("b", 1), event("a", 3), event("a", 2)];
/// assert_eq!(replay(&events), [event("b", 1), event("a", 3)]);
/// ```
#[must_use]
pub fn replay(events: &[Event]) -> Vec<Event> {
    let mut last: HashMap<&str, &Event> = HashMap::new();
    for event in events {
        let kept = last.entry(&event.id).or_insert(event);
        if event.sequence > kept.sequence {
            *kept = event;
        }
    }
    in_order(last.into_values())
}

/// The first event of each id, in the order given.
///
/// ```
/// use tensorforge::resilience::{Event, deduplicate};
///
/// let event = |id: &str, sequence| Event { id: id.to_string(), sequence };
/// let events = [event("a", 2), event("b", 1), event("a", 3)];
/// assert_eq!(deduplicate(&events), [event("a", 2), event("b", 1)]);
/// ```
#[must_use]
pub fn deduplicate(events: &[Event]) -> Vec<Event> {
    let mut seen = HashSet::new();
    events.iter().filter(|event| seen.insert(event.id.as_str())).cloned().collect()
}

/// Whether both come to the same when [replayed](replay).
///
/// ```
/// use tensorforge::resilience::{Event, replay_converges};
///
/// let event = |id: &str, sequence| Event { id: id.to_string(), sequence };
/// let (a, b) = ([event("a", 1), event("a", 2)], [event("a", 2)]);
/// assert!(replay_converges(&a, &b));
/// assert!(!replay_converges(&a, &[]));
/// ```
#[must_use]
pub fn replay_converges(a: &[Event], b: &[Event]) -> bool {
    replay(a) == replay(b)
}

/// The events with a sequence from `min` to `max`, both included, in the order given. None if `min` is
/// above `max`.
///
/// ```
/// use tensorforge::resilience::{Event, replay_window};
///
/// let event = |sequence: i64| Event { id: sequence.to_string(), sequence };
/// let events = [1, 2, 3, 4].map(event);
/// assert_eq!(replay_window(&events, 2, 3), [event(2), event(3)]);
/// ```
#[must_use]
pub fn replay_window(events: &[Event], min: i64, max: i64) -> Vec<Event> {
    events.iter().filter(|event| (min..=max).contains(&event.sequence)).cloned().collect()
}

/// All events, by sequence and then id.
///
/// ```
/// use tensorforge::resilience::{Event, event_ordering};
///
/// let event = |id: &str, sequence| Event { id: id.to_string(), sequence };
/// let events = [event("b", 2), event("a", 2), event("c", 1)];
/// assert_eq!(event_ordering(&events), [event("c", 1), event("a", 2), event("b", 2)]);
/// ```
#[must_use]
pub fn event_ordering(events: &[Event]) -> Vec<Event> {
    in_order(events.iter())
}

/// The events whose sequence is not among `applied`, in the order given. O(n + m).
///
/// ```
/// use tensorforge::resilience::{Event, idempotent_apply};
///
/// let event = |sequence: i64| Event { id: sequence.to_string(), sequence };
/// assert_eq!(idempotent_apply(&[1, 2, 3].map(event), &[1, 3]), [event(2)]);
/// ```
#[must_use]
pub fn idempotent_apply(events: &[Event], applied: &[i64]) -> Vec<Event> {
    let applied: HashSet<i64> = applied.iter().copied().collect();
    events.iter().filter(|event| !applied.contains(&event.sequence)).cloned().collect()
}

fn in_order<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<Event> {
    let mut events: Vec<&Event> = events.collect();
    events.sort_unstable_by_key(|event| (event.sequence, &event.id));
    events.into_iter().cloned().collect()
}
