//! A record as it is kept, and the chain.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use tensorforge_core::machine::{AuditRecord, Outcome};

/// A SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// This is no hash: it has 64 digits from 0 to 9 and a to f.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 digits from 0 to 9 and a to f")]
pub struct NoHash;

impl std::str::FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(NoHash);
        }
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(NoHash),
        };
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(hash))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A record as it is kept: one line of JSON, whatever its texts contain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place in the chain, from 0, without gaps.
    pub position: u64,
    /// Its number among the attempts of its engine.
    pub sequence: u64,
    /// When, in nanoseconds of the engine's time.
    pub at: u64,
    /// The machine's name.
    pub machine: String,
    /// Which entity.
    pub entity: String,
    /// The state that it was in.
    pub from: String,
    /// The one that was asked for.
    pub to: String,
    /// How many steps it had made before.
    pub generation: u64,
    /// Why, in the words of whoever asked.
    pub cause: String,
    /// Who refused it and why; `null` if it was made.
    pub refused: Option<String>,
    /// The hash of the record before; of the first, 64 zeros.
    pub previous: Hash,
    /// The hash of this one.
    pub hash: Hash,
}

impl Entry {
    /// The record in its place, behind the record of hash `previous`.
    #[must_use]
    pub fn seal(record: &AuditRecord<'_>, position: u64, previous: Hash) -> Self {
        let mut entry = Self {
            position,
            sequence: record.sequence,
            at: record.at.as_nanos(),
            machine: record.machine.into(),
            entity: record.entity.into(),
            from: record.from.into(),
            to: record.to.into(),
            generation: record.generation,
            cause: record.cause.into(),
            refused: match record.outcome {
                Outcome::Applied => None,
                Outcome::Refused(refusal) => Some(refusal.to_string()),
            },
            previous,
            hash: Hash::default(),
        };
        entry.hash = entry.expected_hash();
        entry
    }

    /// The hash that it should have: of `tensorforge-audit-1`, the previous hash, the numbers
    /// (position, sequence, at, generation; little endian) and the texts (machine, entity, from, to,
    /// cause, and a 0 or a 1 and who refused), each behind its length. So no two different records are
    /// written alike, and how JSON is formatted does not matter.
    #[must_use]
    pub fn expected_hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(b"tensorforge-audit-1");
        hasher.update(self.previous.0);
        for number in [self.position, self.sequence, self.at, self.generation] {
            hasher.update(number.to_le_bytes());
        }
        let mut text = |text: &str| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        };
        for field in [&self.machine, &self.entity, &self.from, &self.to, &self.cause] {
            text(field);
        }
        match &self.refused {
            None => hasher.update([0]),
            Some(refused) => {
                text(refused);
                hasher.update([1]);
            }
        }
        Hash(hasher.finalize().into())
    }
}
