use proptest::prelude::*;

use super::*;

fn entry(sequence: u64, id: &str) -> LogEntry<()> {
    LogEntry { sequence, at: sequence, id: id.into(), event: () }
}

fn sequences<'a>(entries: impl Iterator<Item = &'a LogEntry<()>>) -> Vec<u64> {
    entries.map(|entry| entry.sequence).collect()
}

proptest! {
    #[test]
    fn a_log_follows_the_rules(
        capacity in 0..12_usize,
        inserts in prop::collection::vec((0..40_u64, 0..30_u8, any::<bool>()), 0..120),
    ) {
        let mut log = EventLog::new(capacity);
        let capacity = capacity.max(1);
        // All that is held, and what is over: everything up to the last that fell out.
        let (mut held, mut first, mut fallen, mut missed) = (Vec::<(u64, String)>::new(), 0, 0, 0);
        for (sequence, id, appends) in inserts {
            let id = id.to_string();
            let sequence = match held.last() {
                Some((last, _)) if appends => last + 1,
                None if appends => 0,
                _ => sequence,
            };
            let result = if appends {
                log.append(id.as_str(), sequence, ()).map(|given| assert_eq!(given, sequence))
            } else {
                log.insert(entry(sequence, &id))
            };
            let is_full = held.len() == capacity;
            let lowest = if is_full { held[0].0 } else { first };
            if let Some(known) = held.iter().find(|known| known.1 == id) {
                prop_assert_eq!(result, Err(InsertError::Duplicate { sequence: known.0 }));
            } else if held.iter().any(|known| known.0 == sequence) {
                prop_assert_eq!(result, Err(InsertError::Conflict { sequence }));
            } else if sequence < lowest {
                prop_assert_eq!(result, Err(InsertError::TooOld { sequence, first: lowest }));
            } else {
                prop_assert_eq!(result, Ok(()));
                if is_full {
                    let (oldest, _) = held.remove(0);
                    fallen += 1;
                    missed += oldest - first;
                    first = oldest + 1;
                }
                held.push((sequence, id));
                held.sort();
            }
            let now: Vec<u64> = held.iter().map(|known| known.0).collect();
            prop_assert_eq!(sequences(log.replay(0)), now.clone());
            prop_assert_eq!((log.len(), log.is_empty()), (now.len(), now.is_empty()));
            prop_assert_eq!((log.fallen_out(), log.missed()), (fallen, missed));
            let end = now.last().map_or(first, |last| last + 1);
            let missing: Vec<u64> = (first..end).filter(|one| !now.contains(one)).collect();
            prop_assert_eq!(log.gaps().into_iter().flatten().collect::<Vec<_>>(), missing);
            for (sequence, id) in &held {
                prop_assert_eq!(log.sequence_of(id), Some(*sequence));
            }
        }
    }

    #[test]
    fn the_same_events_in_any_order_replay_the_same(
        (events, shuffled) in prop::collection::btree_map(0..60_u64, 0..100_u64, 0..30)
            .prop_flat_map(|events| {
                let events: Vec<_> = events.into_iter().collect();
                let twice = [events.clone(), events.clone()].concat();
                (Just(events), Just(twice).prop_shuffle())
            }),
        from in 0..60_u64,
    ) {
        let log = |events: &[(u64, u64)]| {
            let mut log = EventLog::new(100);
            for &(sequence, at) in events {
                let id = sequence.to_string().into();
                let _ = log.insert(LogEntry { sequence, at, id, event: at * at });
            }
            log
        };
        let (ordered, shuffled) = (log(&events), log(&shuffled));
        prop_assert!(ordered.replay(from).eq(shuffled.replay(from)));
        prop_assert!(ordered.replay(from).all(|entry| entry.sequence >= from));
        prop_assert_eq!(ordered.gaps(), shuffled.gaps());
    }

    #[test]
    fn a_span_of_time_has_what_happened_in_it(
        times in prop::collection::vec(0..20_u64, 0..30),
        from in 0..20_u64,
        until in 0..20_u64,
    ) {
        let mut log = EventLog::new(100);
        for (n, &at) in times.iter().enumerate() {
            log.append(n.to_string(), at, ()).unwrap();
        }
        let expected = |inside: &dyn Fn(u64) -> bool| {
            let all = times.iter().zip(0_u64..);
            all.filter(|(at, _)| inside(**at)).map(|(_, sequence)| sequence).collect::<Vec<_>>()
        };
        let half_open = expected(&|at| from <= at && at < until);
        prop_assert_eq!(sequences(log.within(from..until)), half_open);
        let closed = expected(&|at| from <= at && at <= until);
        prop_assert_eq!(sequences(log.within(from..=until)), closed);
        prop_assert_eq!(sequences(log.within(..)).len(), times.len());
    }
}

#[test]
fn appended_events_are_numbered_from_0() {
    let mut log = EventLog::new(10);
    assert_eq!([log.append("a", 5, ()), log.append("b", 3, ())], [Ok(0), Ok(1)]);
    assert_eq!(log.append("a", 9, ()), Err(InsertError::Duplicate { sequence: 0 }));
    assert_eq!(log.append("c", 9, ()), Ok(2), "a refused event takes no sequence");
    assert_eq!(log.gaps(), []);
}

#[test]
fn an_event_after_a_gap_shows_it_and_the_missing_one_closes_it() {
    let mut log = EventLog::new(10);
    log.insert(entry(3, "d")).unwrap();
    log.insert(entry(6, "g")).unwrap();
    assert_eq!(log.gaps(), [0..=2, 4..=5]);
    log.insert(entry(4, "e")).unwrap();
    log.insert(entry(5, "f")).unwrap();
    assert_eq!(log.gaps(), [0..=2]);
}

#[test]
fn a_full_log_gives_up_the_oldest_and_counts_it() {
    let mut log = EventLog::new(2);
    for (sequence, id) in [(1, "b"), (2, "c"), (5, "f")] {
        log.insert(entry(sequence, id)).unwrap();
    }
    assert_eq!(sequences(log.replay(0)), [2, 5]);
    assert_eq!((log.fallen_out(), log.missed()), (1, 1), "1 fell out, 0 never came");
    assert_eq!(log.gaps(), [3..=4]);
    assert_eq!(log.sequence_of("b"), None);
    let too_old = InsertError::TooOld { sequence: 0, first: 2 };
    assert_eq!(log.insert(entry(0, "a")), Err(too_old));
    assert_eq!(too_old.to_string(), "sequence 0 is too old: the log now begins at 2");
}

#[test]
fn two_events_cannot_have_one_sequence() {
    let mut log = EventLog::new(10);
    log.insert(entry(1, "a")).unwrap();
    assert_eq!(log.insert(entry(1, "b")), Err(InsertError::Conflict { sequence: 1 }));
    assert_eq!(log.sequence_of("b"), None);
}

#[test]
fn the_last_sequence_is_the_end() {
    let mut log = EventLog::new(1);
    log.insert(entry(u64::MAX, "z")).unwrap();
    assert_eq!(log.append("more", 0, ()), Err(InsertError::Exhausted));
    assert_eq!(log.gaps(), [0..=u64::MAX - 1]);
    assert!(matches!(log.insert(entry(7, "h")), Err(InsertError::TooOld { .. })));
    assert_eq!(sequences(log.replay(u64::MAX)), [u64::MAX]);
}

#[test]
fn a_log_without_room_holds_one() {
    let mut log = EventLog::new(0);
    log.append("a", 0, ()).unwrap();
    log.append("b", 0, ()).unwrap();
    assert_eq!((log.len(), log.fallen_out()), (1, 1));
}
