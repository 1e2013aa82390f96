//! Audits that can be trusted.

use std::io::{BufReader, Cursor as Bytes};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tempfile::TempDir;
use tensorforge_core::machine::{Job, JobState, Reason, Refusal};

use super::*;
use crate::workflow::audit::{
    Buffered, Entry, FanOut, FaultKind, Fsync, Hash, JsonLines, LinesOptions, OpenError, Ring,
    Verified, files_of, verify, verify_file,
};

const REFUSED: Outcome =
    Outcome::Refused(Refusal { by: "rate", reason: Reason::Other("too many") });

fn record<'a>(sequence: u64, entity: &'a str, cause: &'a str, outcome: Outcome) -> AuditRecord<'a> {
    let (from, to) = ("pending", "running");
    let (machine, generation) = ("job", 3);
    AuditRecord { sequence, at: at(7), machine, entity, from, to, generation, cause, outcome }
}

/// Texts with everything that could break a line or a hash.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a\n\"\\\\\u{0}\u{1F980}]{0,8}",
        Just("x".repeat(1 << 10)),
        Just(String::new()),
    ]
}

fn written(records: &[(String, String, bool)]) -> Vec<u8> {
    let (mut lines, mut head) = (Vec::new(), Hash::default());
    for (i, (entity, cause, applied)) in records.iter().enumerate() {
        let outcome = if *applied { Outcome::Applied } else { REFUSED };
        let entry = Entry::seal(&record(i as u64, entity, cause, outcome), i as u64, head);
        head = entry.hash;
        lines.extend(serde_json::to_vec(&entry).unwrap());
        lines.push(b'\n');
    }
    lines
}

fn checked(bytes: Vec<u8>, head: Option<Hash>) -> Result<Verified, (u64, FaultKind)> {
    let source = ("audit".to_owned(), Ok(BufReader::new(Bytes::new(bytes))));
    verify([source], head, |_| {}).map_err(|fault| (fault.line, fault.kind))
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_done_to_a_record_is_found_there(
        records in prop::collection::vec((text(), text(), any::<bool>()), 3..8),
        place: prop::sample::Index,
        other: prop::sample::Index,
        byte: prop::sample::Index,
        bit in 0_u32..8,
    ) {
        let whole = written(&records);
        let count = records.len() as u64;
        let verified = checked(whole.clone(), None).unwrap();
        prop_assert_eq!((verified.records, verified.first), (count, 0));
        prop_assert_eq!(checked(whole.clone(), Some(verified.head)), Ok(verified.clone()));
        let all = lines(&whole);
        let (a, b) = (place.index(all.len()), other.index(all.len()));

        // One bit of one byte.
        let mut altered = all.clone();
        let at = byte.index(all[a].len());
        altered[a][at] ^= 1 << bit;
        let faulty = checked(altered.concat(), Some(verified.head)).unwrap_err();
        // A line end that comes or goes may be told one line later.
        prop_assert!((a as u64 + 1..=a as u64 + 2).contains(&faulty.0), "{:?} for line {}", faulty, a + 1);

        // A record taken out.
        let mut without = all.clone();
        without.remove(a);
        let found = checked(without.concat(), Some(verified.head));
        let last = a + 1 == all.len();
        let expected = match a as u64 {
            // It may be in an older file, which is gone: that is told, and no fault.
            0 => Ok(Verified { records: count - 1, first: 1, head: verified.head }),
            a if last => Err((a, FaultKind::EndMissing { position: a - 1 })),
            a => Err((a + 1, FaultKind::Missing { position: a, found: a + 1 })),
        };
        prop_assert_eq!(found, expected);

        // Two that changed places, and one that is there twice.
        if a != b && a.min(b) > 0 {
            let mut swapped = all.clone();
            swapped.swap(a, b);
            let first = a.min(b) as u64;
            let kind = FaultKind::Reordered { position: a.max(b) as u64, expected: first };
            prop_assert_eq!(checked(swapped.concat(), None).unwrap_err(), (first + 1, kind));
        }
        let mut doubled = all.clone();
        doubled.insert(a, all[a].clone());
        let kind = FaultKind::Reordered { position: a as u64, expected: a as u64 + 1 };
        prop_assert_eq!(checked(doubled.concat(), None).unwrap_err(), (a as u64 + 2, kind));

        // Cut anywhere.
        let cut = byte.index(whole.len());
        let faulty = checked(whole[..cut].to_vec(), Some(verified.head)).unwrap_err();
        let at_the_end = matches!(faulty.1, FaultKind::Torn | FaultKind::EndMissing { .. });
        prop_assert!(at_the_end);
    }

    #[test]
    fn no_two_records_are_hashed_alike(a in text(), b in text(), c in text(), d in text()) {
        let hash = |entity: &str, cause: &str| {
            Entry::seal(&record(1, entity, cause, Outcome::Applied), 0, Hash::default()).hash
        };
        prop_assert_eq!(hash(&a, &b) == hash(&c, &d), (&a, &b) == (&c, &d));
    }
}

#[test]
fn a_record_that_was_replaced_with_its_hash_is_found_at_the_next() {
    let names = |name: &str| (name.to_owned(), String::new(), true);
    let mut all = lines(&written(&[names("a"), names("b"), names("c")]));
    let forged = lines(&written(&[names("a"), names("x"), names("c")]));
    all[1] = forged[1].clone();
    let kind = FaultKind::Unlinked { position: 2 };
    assert_eq!(checked(all.concat(), None), Err((3, kind)));
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_file_is_gone_on_with_and_rotated_and_stays_one_chain() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let options = LinesOptions { max_bytes: 1_500, kept_files: 3, fsync: Fsync::Every(2) };
    let mut head = Hash::default();
    for round in 0..4 {
        let file = JsonLines::open(&path, options).unwrap();
        assert_eq!(file.head(), head);
        for i in 0..3 {
            file.record(&record(round * 3 + i, "a", "b\nc", Outcome::Applied)).unwrap();
        }
        head = file.head();
    }
    assert_eq!(files_of(&path).len(), 3, "{:?}", files_of(&path));
    let verified = verify_file(&path, Some(head)).unwrap();
    assert_eq!((verified.records, verified.first), (12, 0));
    // The oldest fall out; the chain then begins later.
    let file = JsonLines::open(&path, options).unwrap();
    for i in 12..60 {
        file.record(&record(i, "a", "", REFUSED)).unwrap();
    }
    let verified = verify_file(&path, Some(file.head())).unwrap();
    assert_eq!(verified.first + verified.records, 60);
    assert!(verified.first > 0 && files_of(&path).len() == 4);
    // A file taken out of the middle is found.
    std::fs::remove_file(path.with_extension("jsonl.2")).unwrap();
    std::fs::rename(path.with_extension("jsonl.3"), path.with_extension("jsonl.2")).unwrap();
    let fault = verify_file(&path, None).unwrap_err();
    assert!(matches!(fault.kind, FaultKind::Missing { .. }), "{fault}");
    assert!(fault.path.ends_with("audit.jsonl.1") && fault.line == 1, "{fault}");
}

#[test]
fn half_a_record_is_moved_away_and_the_chain_goes_on() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let large = "\u{1F980}\n".repeat(1 << 18); // more than a megabyte, on one line all the same
    let file = JsonLines::open(&path, LinesOptions::default()).unwrap();
    for i in 0..3 {
        file.record(&record(i, &large, "", Outcome::Applied)).unwrap();
    }
    drop(file);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    assert_eq!(verify_file(&path, None).unwrap_err().kind, FaultKind::Torn);

    let file = JsonLines::open(&path, LinesOptions::default()).unwrap();
    file.record(&record(9, "b", "", Outcome::Applied)).unwrap();
    let verified = verify_file(&path, Some(file.head())).unwrap();
    assert_eq!(verified.records, 3, "two and the new one");
    let torn = std::fs::read(folder.path().join("audit.jsonl.torn")).unwrap();
    assert!(whole.windows(torn.len()).any(|part| part == torn) && torn.len() > 100_000);
}

#[test]
fn a_file_that_ends_in_no_record_is_refused_with_the_remedy() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, "hello\n").unwrap();
    let error = JsonLines::open(&path, LinesOptions::default()).unwrap_err();
    assert!(matches!(&error, OpenError::NotARecord { .. }));
    assert!(error.to_string().contains("tensorforge audit verify"), "{error}");
    let missing = folder.path().join("no").join("audit.jsonl");
    let error = JsonLines::open(&missing, LinesOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::System { .. }));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_records_whole_and_says_so() {
    let full = JsonLines::open("/dev/full", LinesOptions::default()).unwrap();
    for i in 0..3 {
        let kept = full.record(&record(i, "a", "", Outcome::Applied));
        assert_eq!(kept, Err(AuditFailure::Broken));
    }
    assert_eq!((full.failures(), full.head()), (3, Hash::default()));
}

#[test]
fn the_ring_keeps_the_last_and_a_fan_out_tells_all() {
    let (small, large) = (Arc::new(Ring::new(2)), Arc::new(Ring::new(10)));
    let book = Arc::new(Book::default());
    book.breaks(true);
    struct Shared<A>(Arc<A>);
    impl<A: AuditSink> AuditSink for Shared<A> {
        fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
            self.0.record(record)
        }
    }
    let sinks: Vec<SharedSink> = vec![
        Arc::new(Shared(small.clone())),
        Arc::new(Shared(book)),
        Arc::new(Shared(large.clone())),
    ];
    let all = FanOut(sinks);
    for i in 0..5 {
        let kept = all.record(&record(i, "a", "", Outcome::Applied));
        assert_eq!(kept, Err(AuditFailure::Full));
    }
    assert_eq!((small.entries(), small.fallen()), (large.entries()[3..].to_vec(), 3));
    let chained = large.entries().windows(2).all(|two| two[1].previous == two[0].hash);
    assert!(chained && large.entries().iter().all(|entry| entry.hash == entry.expected_hash()));
}

/// Lets a record through for each message; says when one has come.
struct Gate {
    come: Sender<u64>,
    go: Mutex<Receiver<()>>,
    book: Arc<Book>,
}

impl AuditSink for Gate {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        self.come.send(record.sequence).unwrap();
        // The test is over when this fails: then nothing is waited for.
        let _ = self.go.lock().unwrap().recv();
        self.book.record(record)
    }
}

#[test]
fn a_buffer_never_waits_for_a_slow_sink_and_tells_what_it_dropped() {
    let ((come, comes), (go, goes)) = (channel(), channel());
    let book = Arc::new(Book::default());
    let gate = Gate { come, go: Mutex::new(goes), book: book.clone() };
    let buffer = Buffered::new(gate, 2).unwrap();
    buffer.record(&record(0, "a", "c", Outcome::Applied)).unwrap();
    assert_eq!(comes.recv(), Ok(0), "the sink holds the first");
    // Two find room, two do not; none waits, for the sink does not move.
    let kept: Vec<_> = (1..5).map(|i| buffer.record(&record(i, "a", "c", REFUSED))).collect();
    let full = Err(AuditFailure::Full);
    assert_eq!(kept, [Ok(()), Ok(()), full, full]);
    assert_eq!(buffer.dropped(), 2);
    drop(go);
    drop(buffer);
    let told: Vec<_> =
        book.records().iter().map(|kept| (kept.sequence, kept.entity.clone())).collect();
    let expected = [(0, "a"), (1, "buffer"), (1, "a"), (2, "a")];
    assert_eq!(told, expected.map(|(sequence, entity)| (sequence, entity.to_owned())));
    assert_eq!(book.records()[1].cause, "2 records found no room in the buffer");
    assert_eq!(book.records()[3].outcome, REFUSED);
}

#[test]
fn a_sink_that_panics_behind_a_buffer_has_failed_and_goes_on_being_told() {
    struct Every(Arc<Book>);
    impl AuditSink for Every {
        fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
            assert!(record.sequence != 1, "a mistake in the sink");
            self.0.record(record)
        }
    }
    let book = Arc::new(Book::default());
    let buffer = Buffered::new(Every(book.clone()), 10).unwrap();
    (0..3).for_each(|i| buffer.record(&record(i, "a", "", Outcome::Applied)).unwrap());
    buffer.flush();
    assert_eq!((book.records().len(), buffer.failed(), buffer.dropped()), (2, 1, 0));
}

#[test]
fn an_engine_is_read_back_from_its_audit() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let file = JsonLines::open(&path, LinesOptions::default()).unwrap();
    let sink = Buffered::new(file, 1000).unwrap();
    let engine = Engine::<Job, (), Buffered>::new(Job, (), sink, EngineOptions::default());
    let ids: Vec<String> = (0..20).map(|i| format!("job {i}")).collect();
    ids.iter().for_each(|id| assert!(engine.register(id, at(0))));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for id in &ids {
                    for to in [
                        JobState::Running,
                        JobState::Paused,
                        JobState::Running,
                        JobState::Succeeded,
                    ] {
                        let _ = engine.transition(id, to, "work", &(), at(1));
                    }
                }
            });
        }
    });
    engine.sink().flush();
    assert_eq!((engine.sink().dropped(), engine.audit_failures()), (0, 0));
    let text = std::fs::read_to_string(&path).unwrap();
    let entries: Vec<Entry> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(verify_file(&path, None).unwrap().records, engine.attempts());
    for id in &ids {
        let made = entries.iter().filter(|entry| entry.entity == *id && entry.refused.is_none());
        let mut state = "pending".to_owned();
        for entry in made {
            assert_eq!(entry.from, state);
            state.clone_from(&entry.to);
        }
        assert_eq!(engine.state(id).map(tensorforge_core::machine::State::name), Some(&*state));
    }
}

#[test]
fn a_hash_is_read_as_it_is_written() {
    let hash = Entry::seal(&record(1, "a", "", Outcome::Applied), 0, Hash::default()).hash;
    assert_eq!(hash.to_string().parse(), Ok(hash));
    for text in ["", "12", &"g".repeat(64), &"A".repeat(64)] {
        assert!(text.parse::<Hash>().is_err());
    }
}
