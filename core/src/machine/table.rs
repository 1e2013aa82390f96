//! The table of a machine, and what can be wrong with it.

use core::fmt;

/// The most states of a machine: a set of them is one word.
pub const MOST_STATES: usize = 64;

/// A machine as data: constant, and checked while it compiles.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// What it is called; part of its identity.
    pub name: &'static str,
    /// Counts up with every change of its meaning; part of its identity.
    pub version: u32,
    /// Where every entity begins.
    pub initial: usize,
    /// Its states. A state is known by its place here.
    pub states: &'static [Row],
}

/// A state of a table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What it is called.
    pub name: &'static str,
    /// The group that it belongs to: a state that is never entered itself, whose edges all its members
    /// have beside their own.
    pub group: Option<usize>,
    /// Whether an entity may end here.
    pub end: bool,
    /// Which states may follow.
    pub targets: &'static [usize],
}

/// A set of states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSet(u64);

impl StateSet {
    /// No state.
    pub const NONE: Self = Self(0);

    const fn with(self, state: usize) -> Self {
        if state < MOST_STATES { Self(self.0 | 1 << state) } else { self }
    }

    /// Whether `state` is in it.
    #[must_use]
    pub const fn contains(self, state: usize) -> bool {
        state < MOST_STATES && self.0 >> state & 1 == 1
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The states in it, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MOST_STATES).filter(move |&state| self.contains(state))
    }
}

/// What is wrong with a table. States are named by their places.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// It has no states.
    Empty,
    /// It has more than [`MOST_STATES`].
    TooManyStates,
    /// A state has no name.
    Nameless(usize),
    /// Two states have one name.
    SameName(usize, usize),
    /// An edge, a group or the beginning names a state that is not there.
    NoSuchState(usize),
    /// A group is, in the end, its own member.
    GroupInItself(usize),
    /// An edge or the beginning leads to a group, which cannot be entered.
    EntersGroup(usize),
    /// An edge is there twice, of the state's own or with its groups'.
    DuplicateEdge(usize, usize),
    /// An end that can be left.
    EndWithExit(usize),
    /// A state that cannot be left and is no end.
    DeadEnd(usize),
    /// A state that nothing leads to.
    Unreachable(usize),
    /// A state from which no end can be reached.
    NeverEnds(usize),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a machine has at least one state"),
            Self::TooManyStates => write!(f, "a machine has at most {MOST_STATES} states"),
            Self::Nameless(state) => write!(f, "state {state} has no name"),
            Self::SameName(a, b) => write!(f, "states {a} and {b} have the same name"),
            Self::NoSuchState(state) => write!(f, "there is no state {state}"),
            Self::GroupInItself(state) => write!(f, "group {state} is a member of itself"),
            Self::EntersGroup(state) => {
                write!(f, "state {state} is a group: name one of its members")
            }
            Self::DuplicateEdge(from, to) => {
                write!(f, "the edge from {from} to {to} is there twice")
            }
            Self::EndWithExit(state) => write!(f, "state {state} is an end but can be left"),
            Self::DeadEnd(state) => write!(f, "state {state} cannot be left and is no end"),
            Self::Unreachable(state) => write!(f, "nothing leads to state {state}"),
            Self::NeverEnds(state) => write!(f, "no end can be reached from state {state}"),
        }
    }
}

impl core::error::Error for TableError {}

impl Table {
    /// Whether `to` may follow `from`: by an edge of `from` or of a group it is in. `false` for places
    /// that are no states.
    #[must_use]
    pub const fn allows(&self, from: usize, to: usize) -> bool {
        self.successors(from).contains(to)
    }

    /// Which states may follow `state`.
    #[must_use]
    pub const fn successors(&self, state: usize) -> StateSet {
        let mut set = StateSet::NONE;
        let mut at = Some(state);
        // No more groups than states: a wrong table ends too.
        let mut steps = 0;
        while let Some(state) = at {
            if state >= self.states.len() || steps > self.states.len() {
                break;
            }
            let row = &self.states[state];
            let mut i = 0;
            while i < row.targets.len() {
                set = set.with(row.targets[i]);
                i += 1;
            }
            at = row.group;
            steps += 1;
        }
        set
    }

    /// Which states can be reached from `state` by one step or more.
    #[must_use]
    pub const fn reachable(&self, state: usize) -> StateSet {
        let mut found = self.successors(state);
        loop {
            let mut more = found;
            let mut i = 0;
            while i < self.states.len() {
                if found.contains(i) {
                    more = StateSet(more.0 | self.successors(i).0);
                }
                i += 1;
            }
            if more.0 == found.0 {
                return found;
            }
            found = more;
        }
    }

    /// The shortest way from `from` to `to`, both included, written to `way`; among equally short ones
    /// that through the states that come first. `None` if there is none.
    pub fn path<'w>(
        &self,
        from: usize,
        to: usize,
        way: &'w mut [usize; MOST_STATES],
    ) -> Option<&'w [usize]> {
        if from >= self.states.len() || to >= self.states.len() {
            return None;
        }
        // Backwards: how far is each state from the goal?
        let mut distance = [usize::MAX; MOST_STATES];
        distance[to] = 0;
        for round in 1..=self.states.len() {
            for state in 0..self.states.len() {
                let nearer = |next: usize| distance.get(next) == Some(&(round - 1));
                if distance[state] == usize::MAX && self.successors(state).iter().any(nearer) {
                    distance[state] = round;
                }
            }
        }
        let len = *distance.get(from)?;
        if len == usize::MAX {
            return None;
        }
        let mut at = from;
        for (step, place) in way.iter_mut().enumerate().take(len + 1) {
            *place = at;
            let left = len - step;
            at = self
                .successors(at)
                .iter()
                .find(|&next| left > 0 && distance[next] == left - 1)
                .unwrap_or(at);
        }
        way.get(..=len)
    }

    /// The place of the state of this name.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<usize> {
        (0..self.states.len())
            .find(|&state| self.states[state].name == name && !self.is_group(state))
    }

    /// The name of a state; `"?"` for none.
    #[must_use]
    pub const fn name_of(&self, state: usize) -> &'static str {
        if state < self.states.len() { self.states[state].name } else { "?" }
    }

    /// Whether an entity may end there.
    #[must_use]
    pub const fn is_end(&self, state: usize) -> bool {
        state < self.states.len() && self.states[state].end
    }

    /// Whether it is a group, which no entity is ever in.
    #[must_use]
    pub const fn is_group(&self, state: usize) -> bool {
        let mut i = 0;
        while i < self.states.len() {
            if let Some(group) = self.states[i].group
                && group == state
            {
                return true;
            }
            i += 1;
        }
        false
    }

    /// A number that another name, version, state or edge would change: what a snapshot must agree on.
    /// FNV-1a.
    #[must_use]
    pub const fn identity(&self) -> u64 {
        let mut hash = 0xCBF2_9CE4_8422_2325;
        hash = mix(hash, self.name.as_bytes());
        hash = mix(hash, &self.version.to_le_bytes());
        hash = mix(hash, &(self.initial as u64).to_le_bytes());
        let mut state = 0;
        while state < self.states.len() {
            let row = &self.states[state];
            hash = mix(hash, row.name.as_bytes());
            // A name and what follows it cannot be read as another name.
            hash = mix(hash, &[0xFF, row.end as u8]);
            hash = mix(hash, &self.successors(state).0.to_le_bytes());
            state += 1;
        }
        hash
    }

    /// What is wrong with the table, if anything is. [`machine!`](crate::machine!) asks while compiling.
    pub const fn check(&self) -> Result<(), TableError> {
        let count = self.states.len();
        if count == 0 {
            return Err(TableError::Empty);
        }
        if count > MOST_STATES {
            return Err(TableError::TooManyStates);
        }
        if self.initial >= count {
            return Err(TableError::NoSuchState(self.initial));
        }
        if self.is_group(self.initial) {
            return Err(TableError::EntersGroup(self.initial));
        }
        let mut state = 0;
        while state < count {
            if let Err(error) = self.check_row(state) {
                return Err(error);
            }
            state += 1;
        }
        // Only in a table of sound rows is there a way to follow.
        let reachable = self.reachable(self.initial).with(self.initial);
        let mut state = 0;
        while state < count {
            if !self.is_group(state) {
                if !reachable.contains(state) {
                    return Err(TableError::Unreachable(state));
                }
                if !self.is_end(state) && !self.has_end(self.reachable(state)) {
                    return Err(TableError::NeverEnds(state));
                }
            }
            state += 1;
        }
        Ok(())
    }

    const fn check_row(&self, state: usize) -> Result<(), TableError> {
        let (count, row) = (self.states.len(), &self.states[state]);
        if row.name.is_empty() {
            return Err(TableError::Nameless(state));
        }
        let mut other = 0;
        while other < state {
            if same(row.name.as_bytes(), self.states[other].name.as_bytes()) {
                return Err(TableError::SameName(other, state));
            }
            other += 1;
        }
        let mut at = row.group;
        let mut groups = 0;
        while let Some(group) = at {
            if group >= count {
                return Err(TableError::NoSuchState(group));
            }
            if group == state || groups > count {
                return Err(TableError::GroupInItself(state));
            }
            at = self.states[group].group;
            groups += 1;
        }
        let mut seen = StateSet::NONE;
        let mut at = Some(state);
        while let Some(member) = at {
            let targets = self.states[member].targets;
            let mut i = 0;
            while i < targets.len() {
                let target = targets[i];
                if target >= count {
                    return Err(TableError::NoSuchState(target));
                }
                if self.is_group(target) {
                    return Err(TableError::EntersGroup(target));
                }
                if seen.contains(target) {
                    return Err(TableError::DuplicateEdge(state, target));
                }
                seen = seen.with(target);
                i += 1;
            }
            at = self.states[member].group;
        }
        match (row.end, seen.is_empty()) {
            (true, false) => Err(TableError::EndWithExit(state)),
            (false, true) if !self.is_group(state) => Err(TableError::DeadEnd(state)),
            _ => Ok(()),
        }
    }

    const fn has_end(&self, set: StateSet) -> bool {
        let mut state = 0;
        while state < self.states.len() {
            if set.contains(state) && self.states[state].end {
                return true;
            }
            state += 1;
        }
        false
    }
}

const fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01B3);
        i += 1;
    }
    hash
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
