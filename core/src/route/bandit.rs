//! Traffic to whichever version does better.

mod matching;
mod shares;

use super::split::{ALL_TRAFFIC, MAX_ARMS, SplitError, Weights};
use crate::sync::{AtomicU32, AtomicU64, Ordering, array_of};
use crate::{Duration, Instant};
use matching::{Belief, divide};
use shares::Shares;

/// How a [`Bandit`] learns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BanditConfig {
    /// What each arm has at least, in hundredths of a per cent of the traffic: 1 or more.
    pub floor: u16,
    /// How many outcomes it remembers, of all arms together: those before count less and less. With more
    /// it tells smaller differences, with less it follows sooner. 0 counts as 1.
    pub memory: u32,
    /// How long shares stay at least.
    pub update_every: Duration,
    /// How much of the traffic would have to move, in hundredths of a per cent, for shares to change.
    pub least_move: u16,
}

impl BanditConfig {
    /// A floor of 1 %, a memory of 10,000 outcomes, shares that stay for a second and until 1 % of the
    /// traffic would move.
    pub const DEFAULT: Self =
        Self { floor: 100, memory: 10_000, update_every: Duration::from_secs(1), least_move: 100 };
}

impl Default for BanditConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why there is no such bandit.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BanditError {
    /// The shares to begin with are none.
    Shares(SplitError),
    /// The floor is 0, or that of all arms together is more than all the traffic.
    Floor {
        /// The floor.
        floor: u16,
        /// The arms.
        arms: usize,
    },
    /// An arm would begin with less than the floor.
    BelowFloor {
        /// The arm.
        arm: usize,
        /// Its share.
        share: u16,
        /// The floor.
        floor: u16,
    },
}

impl core::fmt::Display for BanditError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Shares(error) => error.fmt(f),
            Self::Floor { floor, arms } => {
                let most = usize::from(ALL_TRAFFIC).checked_div(*arms).unwrap_or(0);
                write!(f, "a floor of {floor} for {arms} arms; it is 1 to {most}")
            }
            Self::BelowFloor { arm, share, floor } => {
                write!(f, "arm {arm} begins with {share}, which is below the floor of {floor}")
            }
        }
    }
}

impl core::error::Error for BanditError {}

/// Divides requests between up to 16 arms by how they do: a multi-armed bandit.
///
/// Each outcome has a reward in [0, 1]. Every [`update_every`](BanditConfig::update_every), or after a
/// million outcomes of an arm, an arm's share becomes the probability that its mean reward is the highest, by what is known: Thompson sampling, for
/// all requests until the next update at once. An arm that is clearly worse falls to the
/// [`floor`](BanditConfig::floor), one that is not known yet keeps its chance.
///
/// * **What changes is followed:** once there are as many outcomes as it
///   [remembers](BanditConfig::memory), old ones count less with every new one. The floor is what an arm is
///   watched with that was worse so far.
/// * **Answers may come late:** an outcome counts when it is told. Until then nobody is taken for better or
///   worse, and as shares are drawn from and not the best taken, requests do not all go to one.
/// * **Keys stay:** between updates shares are those of a [`Split`](super::Split), with all that it
///   promises: a key moves only when shares move past it, and any 10,000 requests without a key that
///   follow each other are divided exactly. Shares stay while less than
///   [`least_move`](BanditConfig::least_move) of the traffic would move.
///
/// With T requests and without forgetting, what is lost against the best arm grows with ln T, as little as
/// any rule can do, and beside that by the floor's part. Of arms that do equally well any division is as
/// good, and shares may wander.
///
/// It is not for telling whether a version is better: that is what an [`Experiment`](super::Experiment)
/// does, at fixed shares.
///
/// **Progress:** choosing is lock-free, recording wait-free but for one thread at a time that makes new
/// shares; nobody waits for it. **Memory:** 560 bytes. O(arms) to choose; an update takes about a
/// microsecond for each pair of arms.
///
/// Sources: S. Scott, *A modern Bayesian look at the multi-armed bandit*, 2010 (shares as
/// probabilities); O. Chapelle and L. Li, *An empirical evaluation of Thompson sampling*, 2011 (late
/// outcomes); S. Agrawal and N. Goyal, *Analysis of Thompson sampling for the multi-armed bandit problem*,
/// 2012 (rewards in [0, 1]); V. Raj and S. Kalyani, *Taming non-stationary bandits: a Bayesian approach*,
/// 2017 (forgetting). Exp3, which Clipper selects models with, holds against an adversary, and pays for
/// that with √T.
///
/// ```
/// use tensorforge_core::route::{Bandit, BanditConfig};
/// use tensorforge_core::{Duration, Instant};
///
/// let bandit = Bandit::new(&[5_000, 5_000], BanditConfig::DEFAULT, 1).unwrap();
/// for number in 0..5_000 {
///     let now = Instant::ZERO + Duration::from_millis(10 * number);
///     let arm = bandit.arm(None);
///     // The first fails every other request, the second every tenth.
///     let fails = number % (if arm == 0 { 2 } else { 10 }) == 0;
///     bandit.record(arm, if fails { 0.0 } else { 1.0 }, now);
/// }
/// assert!(bandit.shares()[1] >= 9_000);
/// assert!(bandit.shares()[0] >= 100);
/// ```
#[derive(Debug)]
pub struct Bandit {
    turn: AtomicU64,
    salt: u64,
    arms: usize,
    config: BanditConfig,
    shares: Shares,
    /// When new shares are due; [`NEVER`] before the first outcome.
    due: AtomicU64,
    /// 1 while a thread makes new shares.
    is_updating: AtomicU32,
    /// Outcomes since the last update: in the lowest [`COUNT`] bits how many, above them their rewards.
    fresh: [AtomicU64; MAX_ARMS],
    /// How many outcomes are remembered and their rewards, as bits of floating point; whoever updates
    /// writes them.
    remembered: [[AtomicU64; 2]; MAX_ARMS],
    dropped: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// Outcomes since the last update are counted in 24 bits, and their rewards in steps of 2^-16 in 40.
const COUNT: u32 = 24;

/// The steps of a reward of 1.
const STEPS: f64 = (1_u32 << 16) as f64;

/// So many of one arm make an update due.
const ENOUGH: u64 = 1 << 20;

/// With so many of one arm no more fit until the update comes.
const FULL: u64 = 1 << 23;

impl Bandit {
    /// Divides by `shares` at first, in hundredths of a per cent. What is random follows from `salt`.
    ///
    /// # Errors
    /// If the shares make no [`Split`](super::Split), the floor is none for so many arms, or a share is
    /// below it.
    pub fn new(shares: &[u16], config: BanditConfig, salt: u64) -> Result<Self, BanditError> {
        let weights = Weights::new(shares).map_err(BanditError::Shares)?;
        let (arms, floor) = (shares.len(), config.floor);
        if floor == 0 || usize::from(floor) * arms > usize::from(ALL_TRAFFIC) {
            return Err(BanditError::Floor { floor, arms });
        }
        if let Some((arm, &share)) = (0..).zip(shares).find(|&(_, &share)| share < floor) {
            return Err(BanditError::BelowFloor { arm, share, floor });
        }
        Ok(Self {
            turn: AtomicU64::new(salt % u64::from(ALL_TRAFFIC)),
            salt,
            arms,
            config,
            shares: Shares::new(&weights),
            due: AtomicU64::new(NEVER),
            is_updating: AtomicU32::new(0),
            fresh: array_of![AtomicU64::new(0); MAX_ARMS],
            remembered: array_of![array_of![AtomicU64::new(0); 2]; MAX_ARMS],
            dropped: AtomicU64::new(0),
        })
    }

    /// The arm of a request: by its key, if it has one, else in turn.
    pub fn arm(&self, sticky: Option<u64>) -> usize {
        let weights = self.shares.current(self.arms);
        match sticky {
            Some(key) => weights.arm_of(key, self.salt),
            None => weights.arm_at(self.turn.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Counts an outcome, known at `now`: its reward is 0 for the worst there is and 1 for the best, and
    /// what is beyond that is cut off. Whether shares changed.
    ///
    /// No number, an arm that there is not, and outcomes beyond 8 million of an arm between two updates
    /// count for nothing but in [`dropped`](Self::dropped).
    pub fn record(&self, arm: usize, reward: f64, now: Instant) -> bool {
        let fresh = self.fresh.get(arm).filter(|_| arm < self.arms && !reward.is_nan());
        let Some(fresh) = fresh.filter(|fresh| count(fresh.load(Ordering::Relaxed)) < FULL) else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let steps = (reward.clamp(0.0, 1.0) * STEPS + 0.5) as u64;
        let before = fresh.fetch_add(steps << COUNT | 1, Ordering::Relaxed);
        let due = self.due.load(Ordering::Relaxed);
        if due == NEVER {
            self.put_off(due, now);
            return false;
        }
        (now.as_nanos() >= due || count(before) >= ENOUGH) && self.update(due, now)
    }

    /// The shares in force, arm by arm, in hundredths of a per cent; those behind the last arm are 0.
    #[must_use]
    pub fn shares(&self) -> [u16; MAX_ARMS] {
        self.shares.current(self.arms).all()
    }

    /// How many outcomes of an arm are remembered, and their mean reward; as of the last update.
    #[must_use]
    pub fn known(&self, arm: usize) -> Option<(f64, f64)> {
        let [outcomes, rewards] = self.remembered.get(arm)?.each_ref().map(number);
        (outcomes > 0.0).then(|| (outcomes, rewards / outcomes))
    }

    /// How many outcomes counted for nothing, as they made no sense or were too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The next update is not before the interval is over.
    fn put_off(&self, due: u64, now: Instant) {
        let next = (now + self.config.update_every).as_nanos().min(NEVER - 1);
        // Whoever comes second finds it done.
        let _ = self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Makes new shares, unless another thread does. Whether they changed.
    fn update(&self, due: u64, now: Instant) -> bool {
        let alone =
            self.is_updating.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if !alone {
            return false;
        }
        let mut changed = false;
        // Another one may have done it just before.
        if self.due.load(Ordering::Relaxed) == due {
            self.put_off(due, now);
            let beliefs = self.learn();
            let shares = divide(beliefs.get(..self.arms).unwrap_or(&[]), self.config.floor);
            changed = moves(shares, self.shares()) >= self.config.least_move.max(1);
            if changed {
                self.shares.publish(&Weights::of(shares, self.arms));
            }
        }
        self.is_updating.store(0, Ordering::Release);
        changed
    }

    /// Puts fresh outcomes to those remembered. What is then known of each arm.
    fn learn(&self) -> [Belief; MAX_ARMS] {
        let mut known = [[0.0; 2]; MAX_ARMS];
        let mut all = 0.0;
        for ((known, remembered), fresh) in known.iter_mut().zip(&self.remembered).zip(&self.fresh)
        {
            let fresh = fresh.swap(0, Ordering::Relaxed);
            let [outcomes, rewards] = remembered.each_ref().map(number);
            *known = [outcomes + count(fresh) as f64, rewards + (fresh >> COUNT) as f64 / STEPS];
            all += known[0];
        }
        // Of more than are remembered, all count less.
        let memory = f64::from(self.config.memory.max(1));
        let kept = if all > memory { memory / all } else { 1.0 };
        for (known, remembered) in known.iter_mut().zip(&self.remembered) {
            for (known, remembered) in known.iter_mut().zip(remembered) {
                *known *= kept;
                remembered.store(known.to_bits(), Ordering::Relaxed);
            }
        }
        known.map(|[outcomes, rewards]| Belief::new(outcomes, rewards))
    }
}

const fn count(fresh: u64) -> u64 {
    fresh & ((1 << COUNT) - 1)
}

fn number(bits: &AtomicU64) -> f64 {
    f64::from_bits(bits.load(Ordering::Relaxed))
}

/// How much of the traffic moves from some shares to others.
fn moves(from: [u16; MAX_ARMS], to: [u16; MAX_ARMS]) -> u16 {
    from.iter().zip(to).map(|(&from, to)| from.saturating_sub(to)).sum()
}
