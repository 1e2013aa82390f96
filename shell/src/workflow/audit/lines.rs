//! Records in a file, one a line.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tensorforge_core::machine::{AuditFailure, AuditRecord, AuditSink};

use super::{Entry, Hash};
use crate::concurrency::lock;

/// When the system is told to put a file's records on the disk. Until it does, a loss of power may take
/// them; the end of this process does not.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// When the system likes to.
    #[default]
    Never,
    /// After every so many records; 1 is after each.
    Every(u64),
}

/// How a [`JsonLines`] keeps its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinesOptions {
    /// When records are put on the disk.
    pub fsync: Fsync,
    /// From how many bytes on a new file is begun. Never more than that, except for a single record.
    pub max_bytes: u64,
    /// How many old files are kept: `FILE.1` is the latest of them. The chain goes on from file to file.
    pub kept_files: u32,
}

impl Default for LinesOptions {
    /// Files of 64 MiB, the last eight of them; on the disk when the system likes to.
    fn default() -> Self {
        Self { fsync: Fsync::Never, max_bytes: 64 << 20, kept_files: 8 }
    }
}

/// Why a file cannot be gone on with.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system says no.
    #[error("cannot open the audit {path}: {source}")]
    System {
        /// The file.
        path: PathBuf,
        /// In its words.
        source: std::io::Error,
    },
    /// Its last line is none of ours.
    #[error(
        "the last line of {path} is no intact audit record ({problem}): verify it with \
         `tensorforge audit verify {path}`, and move it away to begin a new chain"
    )]
    NotARecord {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Writes records to a file, one line of JSON each, chained by their hashes.
///
/// An existing file is gone on with. If its last line was cut in half, by a crash or a full disk, the half
/// is moved to `FILE.torn` and the chain goes on behind the last whole record. A record that cannot be
/// written is left out whole and [counted](Self::failures): the chain stays sound, and the gap shows in
/// the sequence numbers.
///
/// It writes while the caller waits: put it behind a [`Buffered`](super::Buffered) where that matters.
#[derive(Debug)]
pub struct JsonLines {
    writer: Mutex<Writer>,
    failures: AtomicU64,
}

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    options: LinesOptions,
    file: File,
    /// Up to where the file holds whole records.
    bytes: u64,
    /// Whether there may be half a record behind that.
    torn: bool,
    next: u64,
    head: Hash,
    unsynced: u64,
}

impl JsonLines {
    /// Goes on with the file, or begins it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: impl Into<PathBuf>, options: LinesOptions) -> Result<Self, OpenError> {
        let path = path.into();
        let system = |source| OpenError::System { path: path.clone(), source };
        let mut file = open(&path).map_err(system)?;
        let mut last = last_entry(&mut file, &path)?;
        if last.is_none() {
            // Rotated just before the end: the chain is in the file before.
            let before = numbered(&path, 1);
            if before.exists() {
                let mut before_file = File::open(&before).map_err(system)?;
                last = last_entry(&mut before_file, &before)?;
            }
        }
        let bytes = file.metadata().map_err(system)?.len();
        let (next, head) = last.map_or((0, Hash::default()), |last| (last.position + 1, last.hash));
        let (torn, unsynced) = (false, 0);
        let writer = Writer { path, options, file, bytes, torn, next, head, unsynced };
        Ok(Self { writer: Mutex::new(writer), failures: AtomicU64::new(0) })
    }

    /// How many records could not be written.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The hash of the last record: with it, [`verify`](super::verify) also notices a missing end.
    #[must_use]
    pub fn head(&self) -> Hash {
        lock(&self.writer).head
    }
}

impl AuditSink for JsonLines {
    fn record(&self, record: &AuditRecord<'_>) -> Result<(), AuditFailure> {
        lock(&self.writer).write(record).map_err(|error| {
            if self.failures.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!(%error, "the audit cannot be written");
            }
            AuditFailure::Broken
        })
    }
}

impl Writer {
    fn write(&mut self, record: &AuditRecord<'_>) -> std::io::Result<()> {
        if self.torn {
            self.cut_back()?;
        }
        let entry = Entry::seal(record, self.next, self.head);
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.options.max_bytes {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(&line) {
            // Some of it may be there.
            self.torn = true;
            let _ = self.cut_back();
            return Err(error);
        }
        self.bytes += line.len() as u64;
        (self.next, self.head) = (self.next + 1, entry.hash);
        self.unsynced += 1;
        if let Fsync::Every(records) = self.options.fsync
            && self.unsynced >= records
        {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn cut_back(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.bytes)?;
        self.file.seek(SeekFrom::Start(self.bytes))?;
        self.torn = false;
        Ok(())
    }

    /// Puts the file among the old ones, and begins a new one.
    fn rotate(&mut self) -> std::io::Result<()> {
        self.file.sync_data()?;
        let kept = self.options.kept_files;
        for number in (1..kept).rev() {
            let old = numbered(&self.path, number);
            if old.exists() {
                std::fs::rename(&old, numbered(&self.path, number + 1))?;
            }
        }
        if kept > 0 {
            std::fs::rename(&self.path, numbered(&self.path, 1))?;
        } else {
            std::fs::remove_file(&self.path)?;
        }
        self.file = open(&self.path)?;
        (self.bytes, self.unsynced) = (0, 0);
        Ok(())
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

/// `FILE.1`, `FILE.2`: the older, the higher.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The last whole record; what stands behind it is moved away.
fn last_entry(file: &mut File, path: &Path) -> Result<Option<Entry>, OpenError> {
    let system = |source| OpenError::System { path: path.to_path_buf(), source };
    let len = file.metadata().map_err(system)?.len();
    // From the end backwards, twice as much each time, until a whole line is in it.
    let mut size = (64 << 10).min(len);
    let (tail, begins_line) = loop {
        let mut tail = vec![0; size as usize];
        file.seek(SeekFrom::Start(len - size)).map_err(system)?;
        file.read_exact(&mut tail).map_err(system)?;
        let lines = tail.iter().filter(|&&byte| byte == b'\n').count();
        if lines >= 2 || size == len {
            break (tail, size == len);
        }
        size = (size * 2).min(len);
    };
    let whole = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let (whole, torn) = tail.split_at(whole);
    if !torn.is_empty() {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".torn");
        std::fs::write(&aside, torn).map_err(system)?;
        file.set_len(len - torn.len() as u64).map_err(system)?;
        let bytes = torn.len();
        tracing::warn!(path = %path.display(), bytes, "the audit ended in half a record: moved to .torn");
    }
    file.seek(SeekFrom::End(0)).map_err(system)?;
    let Some(line) = whole.strip_suffix(b"\n") else { return Ok(None) };
    let begin = line.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    debug_assert!(begin > 0 || begins_line, "a line is looked at from its beginning");
    let problem = match serde_json::from_slice::<Entry>(&line[begin..]) {
        Ok(entry) if entry.hash == entry.expected_hash() => return Ok(Some(entry)),
        Ok(_) => "its hash does not fit its content".into(),
        Err(error) => error.to_string(),
    };
    Err(OpenError::NotARecord { path: path.to_path_buf(), problem })
}
