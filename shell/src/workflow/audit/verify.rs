//! Is the chain whole?

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::lines::numbered;
use super::{Entry, Hash};

/// A chain that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records it has.
    pub records: u64,
    /// The place of the first: more than 0 if older files are gone.
    pub first: u64,
    /// The hash of the last.
    pub head: Hash,
}

/// The first record that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}:{line}: {kind}")]
pub struct Fault {
    /// Which file.
    pub path: String,
    /// Which line of it, from 1.
    pub line: u64,
    /// What is wrong there.
    pub kind: FaultKind,
}

/// What is wrong with a record.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// Its content is not what was written.
    #[error("record {position} was altered: its hash does not fit its content")]
    Altered {
        /// Its place.
        position: u64,
    },
    /// Records are not there.
    #[error("record {position} is missing: record {found} stands in its place")]
    Missing {
        /// The place of the first of them.
        position: u64,
        /// The place of the record that is there instead.
        found: u64,
    },
    /// A record stands where it does not belong.
    #[error("record {position} was moved or doubled: it stands where record {expected} belongs")]
    Reordered {
        /// Its place.
        position: u64,
        /// The one that belongs here.
        expected: u64,
    },
    /// It does not follow the record before: that one is another than when it was written.
    #[error("record {position} does not follow the record before it: a record was replaced")]
    Unlinked {
        /// Its place.
        position: u64,
    },
    /// It is no record.
    #[error("this is no audit record: {problem}")]
    NotARecord {
        /// Why not.
        problem: String,
    },
    /// It was cut in half.
    #[error("the last record was cut in half")]
    Torn,
    /// The chain ends before the hash that it should end with.
    #[error(
        "records are missing at the end: the last one, {position}, has another hash than given"
    )]
    EndMissing {
        /// The place of the last that is there.
        position: u64,
    },
    /// It cannot be read.
    #[error("cannot be read: {problem}")]
    Unreadable {
        /// In the system's words.
        problem: String,
    },
}

/// The files of an audit, the oldest first: `FILE.3`, `FILE.2`, `FILE.1`, `FILE`.
#[must_use]
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let old = (1..).map(|number| numbered(path, number)).take_while(|old| old.exists());
    let mut files: Vec<PathBuf> = old.collect();
    files.reverse();
    files.push(path.to_path_buf());
    files
}

/// Verifies a file and the older ones beside it; see [`verify`].
///
/// # Errors
/// The first [`Fault`].
pub fn verify_file(path: &Path, head: Option<Hash>) -> Result<Verified, Fault> {
    let sources = files_of(path).into_iter().map(|file| {
        let name = file.display().to_string();
        let opened = File::open(&file).map(BufReader::new);
        (name, opened)
    });
    verify(sources, head, |_| {})
}

/// Verifies records, read from named sources, the oldest first: that each is as it was written and follows
/// the one before, and with `head`, that the last has this hash. `progress` is told the bytes read so far.
///
/// Reads line by line: memory for the longest record.
///
/// # Errors
/// The first [`Fault`].
pub fn verify<R: BufRead>(
    sources: impl IntoIterator<Item = (String, std::io::Result<R>)>,
    head: Option<Hash>,
    mut progress: impl FnMut(u64),
) -> Result<Verified, Fault> {
    let mut verified: Option<Verified> = None;
    let (mut bytes, mut line, mut at) = (0, Vec::new(), (String::new(), 0));
    // A record that came too early: missing are those before it, or they come later.
    let mut early: Option<(Fault, u64)> = None;
    for (path, source) in sources {
        let fault = |line, kind| Fault { path: path.clone(), line, kind };
        let unreadable = |line| {
            move |error: std::io::Error| {
                (line, FaultKind::Unreadable { problem: error.to_string() })
            }
        };
        let mut source = source.map_err(unreadable(0)).map_err(|(line, kind)| fault(line, kind))?;
        for number in 1.. {
            line.clear();
            let read = source.read_until(b'\n', &mut line).map_err(unreadable(number));
            let read = read.map_err(|(line, kind)| fault(line, kind))?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            progress(bytes);
            at = (path.clone(), number);
            let record = check_line(&line);
            if let Some((_, wanted)) = &early {
                if record.as_ref().is_ok_and(|entry| entry.position == *wanted) {
                    break; // it is here: moved, not missing
                }
                continue;
            }
            let entry = record.map_err(|kind| fault(number, kind))?;
            let kind = match &verified {
                None => None,
                Some(before) => follows(&entry, before.first + before.records, before.head),
            };
            match kind {
                None => {}
                Some(FaultKind::Missing { position, found }) => {
                    let kind = FaultKind::Missing { position, found };
                    early = Some((fault(number, kind), position));
                    continue;
                }
                Some(kind) => return Err(fault(number, kind)),
            }
            let (first, records) = verified
                .as_ref()
                .map_or((entry.position, 0), |before| (before.first, before.records));
            verified = Some(Verified { records: records + 1, first, head: entry.hash });
        }
        if let Some((fault, wanted)) = &early
            && check_line(&line).is_ok_and(|entry| entry.position == *wanted)
            && let FaultKind::Missing { found, .. } = fault.kind
        {
            let kind = FaultKind::Reordered { position: found, expected: *wanted };
            return Err(Fault { kind, ..fault.clone() });
        }
    }
    if let Some((fault, _)) = early {
        return Err(fault);
    }
    let verified = verified.unwrap_or(Verified { records: 0, first: 0, head: Hash::default() });
    if head.is_some_and(|head| head != verified.head) {
        let position = (verified.first + verified.records).saturating_sub(1);
        let (path, line) = at;
        return Err(Fault { path, line, kind: FaultKind::EndMissing { position } });
    }
    Ok(verified)
}

fn follows(entry: &Entry, expected: u64, head: Hash) -> Option<FaultKind> {
    let position = entry.position;
    match position.cmp(&expected) {
        std::cmp::Ordering::Greater => {
            Some(FaultKind::Missing { position: expected, found: position })
        }
        std::cmp::Ordering::Less => Some(FaultKind::Reordered { position, expected }),
        std::cmp::Ordering::Equal if entry.previous != head => {
            Some(FaultKind::Unlinked { position })
        }
        std::cmp::Ordering::Equal => None,
    }
}

/// The record of a line, if it is as it was written.
fn check_line(line: &[u8]) -> Result<Entry, FaultKind> {
    let Some(line) = line.strip_suffix(b"\n") else { return Err(FaultKind::Torn) };
    let entry: Entry = serde_json::from_slice(line)
        .map_err(|error| FaultKind::NotARecord { problem: error.to_string() })?;
    if entry.hash != entry.expected_hash() {
        return Err(FaultKind::Altered { position: entry.position });
    }
    Ok(entry)
}
