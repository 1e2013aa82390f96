//! Writes a trace on a thread of its own.

use super::{Begin, End, Line};
use std::fmt;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

/// Lines that may wait to be written.
const ROOM: usize = 1 << 16;

/// Why a trace cannot be begun.
#[derive(Debug, thiserror::Error)]
#[error("cannot record: {0}")]
pub struct RecorderError(#[from] std::io::Error);

/// Writes lines in the background. It never makes anyone wait: where lines are made faster than they can
/// be written, the trace ends there, and says so.
pub struct Recorder {
    lines: Option<SyncSender<Line>>,
    thread: Option<JoinHandle<()>>,
    cut: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("written", &self.written).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Begins a trace.
    ///
    /// # Errors
    /// [`RecorderError`] when it cannot be written, or the system gives no thread.
    pub fn begin(
        mut out: impl Write + Send + 'static,
        begin: Begin,
    ) -> Result<Self, RecorderError> {
        put(&mut out, &Line::Begin(begin))?;
        let (sender, lines) = sync_channel(ROOM);
        let cut = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let (its_cut, its_written) = (Arc::clone(&cut), Arc::clone(&written));
        let thread = std::thread::Builder::new().name("trace".into()).spawn(move || {
            if let Err(error) = write_all(BufWriter::new(out), &lines, &its_cut, &its_written) {
                its_cut.store(true, Ordering::Relaxed);
                tracing::error!(%error, "the trace cannot be written and ends here");
            }
        })?;
        Ok(Self { lines: Some(sender), thread: Some(thread), cut, written })
    }

    /// Adds a line, unless the trace was cut before.
    pub fn put(&self, line: Line) {
        let Some(lines) = &self.lines else { return };
        if self.cut.load(Ordering::Relaxed) {
            return;
        }
        if lines.try_send(line).is_err() && !self.cut.swap(true, Ordering::Relaxed) {
            tracing::error!("the trace is made faster than it can be written, and ends here");
        }
    }

    /// Whether it ends before everything was recorded.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Lines on their way to the file, the first left out.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

impl Drop for Recorder {
    /// Waits until everything is written.
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            // It has said itself what went wrong.
            let _ = thread.join();
        }
    }
}

fn put(out: &mut impl Write, line: &Line) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn write_all(
    mut out: impl Write,
    lines: &Receiver<Line>,
    cut: &AtomicBool,
    written: &AtomicU64,
) -> std::io::Result<()> {
    loop {
        // Whoever reads along sees everything as soon as it is quiet.
        let next = match lines.try_recv() {
            Err(TryRecvError::Empty) => {
                out.flush()?;
                lines.recv()
            }
            Err(TryRecvError::Disconnected) => Err(RecvError),
            Ok(line) => Ok(line),
        };
        let Ok(line) = next else { break };
        put(&mut out, &line)?;
        written.fetch_add(1, Ordering::Relaxed);
    }
    put(&mut out, &Line::End(End { complete: !cut.load(Ordering::Relaxed) }))?;
    out.flush()
}
