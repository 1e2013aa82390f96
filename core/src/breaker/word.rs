//! The state of a breaker, and how it fits in 64 bits.

/// The state and the number of changes that led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Below 2^24.
    pub(super) epoch: u32,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Calls pass. How many failed since the last that did not.
    Closed {
        run: u32,
    },
    /// Calls are refused. How many openings there were since it was closed, without this one.
    Open {
        openings: u8,
    },
    HalfOpen(Probes),
}

/// What became of the probes of a half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probes {
    /// As in [`Phase::Open`], of the opening before.
    pub(super) openings: u8,
    /// How many gave their place back. It only grows, so a word never comes again within an epoch.
    pub(super) ignored: u8,
    /// How many places are taken, for good or until the probe reports.
    pub(super) admitted: u8,
    pub(super) succeeded: u8,
    /// Reported as failed, or expired.
    pub(super) failed: u8,
}

const EPOCH_BITS: u32 = 24;
const EPOCHS: u32 = 1 << EPOCH_BITS;
/// Openings are counted up to here.
const MOST_OPENINGS: u8 = 63;

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

impl Word {
    /// A new breaker.
    pub(super) const FIRST: u64 = CLOSED;

    /// The next epoch, in `phase`.
    pub(super) const fn next(self, phase: Phase) -> Self {
        Self { epoch: (self.epoch + 1) % EPOCHS, phase }
    }

    /// The same epoch, in `phase`.
    pub(super) const fn with(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    pub(super) const fn pack(self) -> u64 {
        let (state, payload) = match self.phase {
            Phase::Closed { run } => (CLOSED, run as u64),
            Phase::Open { openings } => (OPEN, openings as u64),
            Phase::HalfOpen(probes) => {
                let counts = [probes.failed, probes.succeeded, probes.admitted, probes.ignored];
                let counts = u32::from_le_bytes(counts) as u64;
                (HALF_OPEN, (probes.openings as u64) << 32 | counts)
            }
        };
        payload << (2 + EPOCH_BITS) | (self.epoch as u64) << 2 | state
    }

    pub(super) const fn unpack(word: u64) -> Self {
        let payload = word >> (2 + EPOCH_BITS);
        let phase = match word & 3 {
            OPEN => Phase::Open { openings: payload as u8 },
            HALF_OPEN => {
                let [failed, succeeded, admitted, ignored] = (payload as u32).to_le_bytes();
                let openings = (payload >> 32) as u8;
                Phase::HalfOpen(Probes { openings, ignored, admitted, succeeded, failed })
            }
            _ => Phase::Closed { run: payload as u32 },
        };
        Self { epoch: (word >> 2) as u32 % EPOCHS, phase }
    }
}

impl Probes {
    /// A half-open that begins with so many probes admitted.
    pub(super) const fn first(openings: u8, admitted: u8) -> Self {
        Self { openings, ignored: 0, admitted, succeeded: 0, failed: 0 }
    }

    /// How many have not reported.
    pub(super) const fn in_flight(self) -> u8 {
        self.admitted.saturating_sub(self.succeeded).saturating_sub(self.failed)
    }

    /// All that have not reported have failed.
    pub(super) const fn expired(self) -> Self {
        Self { failed: self.failed.saturating_add(self.in_flight()), ..self }
    }
}

/// One opening more.
pub(super) const fn one_more(openings: u8) -> u8 {
    if openings < MOST_OPENINGS { openings + 1 } else { MOST_OPENINGS }
}
