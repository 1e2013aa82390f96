//! Answers in the order in which they were last of use.

use super::AnswerKey;
use crate::contracts::InferResponse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tensorforge_core::Instant;

/// Answers by key and by when they were last kept or asked for. Every operation is O(log n), but for
/// [`retain`](Self::retain).
#[derive(Debug, Default)]
pub(super) struct Lru {
    answers: HashMap<Arc<AnswerKey>, Kept>,
    /// The one that was of use the longest ago first. The numbers say no more than the order.
    by_use: BTreeMap<u64, Arc<AnswerKey>>,
    next_use: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    answer: Arc<InferResponse>,
    bytes: usize,
    kept_at: Instant,
    used: u64,
}

impl Lru {
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// What all answers take.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts an answer in whose key is not there.
    pub(super) fn insert(
        &mut self,
        key: AnswerKey,
        answer: Arc<InferResponse>,
        bytes: usize,
        kept_at: Instant,
    ) {
        let (key, used) = (Arc::new(key), self.next_use);
        self.next_use += 1;
        self.by_use.insert(used, Arc::clone(&key));
        self.answers.insert(key, Kept { answer, bytes, kept_at, used });
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// An answer and when it was kept; it is the last to go now.
    pub(super) fn touch(&mut self, key: &AnswerKey) -> Option<(Arc<InferResponse>, Instant)> {
        let kept = self.answers.get_mut(key)?;
        if let Some(key) = self.by_use.remove(&kept.used) {
            kept.used = self.next_use;
            self.next_use += 1;
            self.by_use.insert(kept.used, key);
        }
        Some((Arc::clone(&kept.answer), kept.kept_at))
    }

    pub(super) fn remove(&mut self, key: &AnswerKey) {
        if let Some(kept) = self.answers.remove(key) {
            self.by_use.remove(&kept.used);
            self.bytes = self.bytes.saturating_sub(kept.bytes);
        }
    }

    /// Removes what was of use the longest ago; `false` if nothing is there.
    pub(super) fn remove_oldest(&mut self) -> bool {
        let Some((_, key)) = self.by_use.pop_first() else { return false };
        self.remove(&key);
        true
    }

    /// Removes what is not to be kept, and says how many that were.
    pub(super) fn retain(&mut self, keep: impl Fn(&AnswerKey, Instant) -> bool) -> u64 {
        let (by_use, bytes) = (&mut self.by_use, &mut self.bytes);
        let before = self.answers.len();
        self.answers.retain(|key, kept| {
            let stays = keep(key, kept.kept_at);
            if !stays {
                by_use.remove(&kept.used);
                *bytes = bytes.saturating_sub(kept.bytes);
            }
            stays
        });
        (before - self.answers.len()) as u64
    }
}
