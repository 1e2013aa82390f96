//! What happens, and when. `expected.txt` says by the rules what the engine must make of it.

use What::{Arrive, Cancel, Drain, Finish};

pub enum What {
    Arrive { id: u32, model: u32, shape: u32, items: u32, priority: u8 },
    Cancel { id: u32 },
    Finish { model: u32 },
    Drain,
}

const fn arrive(id: u32, model: u32, shape: u32, items: u32) -> What {
    Arrive { id, model, shape, items, priority: 0 }
}

/// Microseconds and event.
pub const SCRIPT: &[(u32, What)] = &[
    (0, arrive(0, 0, 0, 1)),
    (200, arrive(1, 0, 1, 1)),
    (400, arrive(2, 0, 0, 2)),
    // Model 0 runs from 1000: what comes now waits for its instance.
    (1100, arrive(3, 0, 0, 2)),
    (1150, Arrive { id: 4, model: 0, shape: 0, items: 2, priority: 5 }),
    (1300, Finish { model: 0 }),
    // Model 1 takes two items: 5 and 6 have three.
    (1400, arrive(5, 1, 0, 1)),
    (1500, arrive(6, 1, 0, 2)),
    (1600, Finish { model: 0 }),
    (1700, Finish { model: 1 }),
    (1800, arrive(7, 0, 0, 5)),
    (1810, arrive(8, 0, 2, 1)),
    (1820, Cancel { id: 8 }),
    (1830, arrive(9, 0, 0, 1)),
    (1840, arrive(10, 0, 0, 1)),
    (1850, arrive(11, 0, 0, 1)),
    (1860, arrive(12, 0, 0, 1)),
    (1900, arrive(13, 2, 0, 1)),
    (2000, Drain),
    (2050, arrive(14, 1, 0, 1)),
    (2100, Finish { model: 0 }),
    (2200, Finish { model: 1 }),
    (2300, Finish { model: 0 }),
];
