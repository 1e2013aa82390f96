//! Eight readers and one writer.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, RwLock};
use std::thread;
use std::time::Duration;

use tensorforge::routing::{EndpointEntry, Route, RouteTable, Routes, Snapshot};
use tensorforge_benches::clock;

/// How many channels and how many endpoints a table has.
pub(crate) const ENDPOINTS: usize = 100;
/// Reads between two looks at the flag that ends a round.
const STRIDE: u64 = 32;
/// From one swap to the next.
const PERIOD: Duration = Duration::from_millis(1);

/// Which table is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Table {
    Ours,
    RwLock,
}

impl Table {
    pub(crate) const ALL: [Self; 2] = [Self::Ours, Self::RwLock];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "tensorforge",
            Self::RwLock => "the same behind std's RwLock",
        }
    }
}

/// What is done to it meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Writer {
    None,
    /// A table that is there already is put in its place.
    Swaps,
    /// Routes are checked and published.
    Publishes,
}

impl Writer {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Swaps, Self::Publishes];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "quiet",
            Self::Swaps => "swapped",
            Self::Publishes => "published",
        }
    }
}

/// Per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) reads: f64,
    pub(crate) swaps: f64,
}

pub(crate) fn measure(table: Table, writer: Writer, readers: usize, duration: Duration) -> Figures {
    let routes = [routes(1), routes(2)];
    let ours = RouteTable::new();
    for routes in &routes {
        ours.publish(routes.clone()).expect("the routes make sense");
    }
    let locked = RwLock::new(Arc::new(ours.current().clone()));
    match table {
        Table::Ours => run(
            readers,
            duration,
            |names, random| read(&ours.current(), names, random),
            |swap| match writer {
                Writer::None => false,
                Writer::Swaps => {
                    let versions = ours.versions();
                    ours.rollback(versions[versions.len() - 2]).is_ok()
                }
                Writer::Publishes => ours.publish(routes[swap % 2].clone()).is_ok(),
            },
        ),
        Table::RwLock => {
            let tables: Vec<Arc<Snapshot>> =
                (0..2).map(|_| Arc::new(ours.current().clone())).collect();
            run(
                readers,
                duration,
                |names, random| {
                    // Cloned, for a request is routed by one table from its beginning to its end.
                    let current = Arc::clone(&locked.read().expect("nobody panics"));
                    read(&current, names, random);
                },
                |swap| {
                    let next = match writer {
                        Writer::None => return false,
                        Writer::Swaps => Arc::clone(&tables[swap % 2]),
                        Writer::Publishes => {
                            ours.publish(routes[swap % 2].clone()).expect("the routes make sense");
                            Arc::new(ours.current().clone())
                        }
                    };
                    *locked.write().expect("nobody panics") = next;
                    true
                },
            )
        }
    }
}

fn name(number: usize) -> String {
    format!("endpoint-{number}")
}

fn routes(latency: i32) -> Routes {
    Routes {
        channels: (0..ENDPOINTS).map(|number| Route { channel: name(number), latency }).collect(),
        endpoints: (0..ENDPOINTS)
            .map(|number| EndpointEntry::new(name(number), format!("http://gpu-{number}:8000")))
            .collect(),
        ..Routes::default()
    }
}

/// What routing a request looks up: a route, and whether an endpoint takes it.
fn read(table: &Snapshot, names: &[String], random: u64) {
    let name = &names[random as usize % names.len()];
    black_box(table.route(name).map(|route| route.latency));
    black_box(table.gate(name).map(|gate| gate.is_closed()));
}

/// Starts everybody together. `write` says whether it did anything; then it comes again after a while.
fn run(
    readers: usize,
    duration: Duration,
    read: impl Fn(&[String], u64) + Sync,
    write: impl Fn(usize) -> bool + Sync,
) -> Figures {
    let names: Vec<String> = (0..ENDPOINTS).map(name).collect();
    let (is_over, start) = (AtomicBool::new(false), Barrier::new(readers + 2));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..readers)
            .map(|index| {
                let (is_over, start, read, names) = (&is_over, &start, &read, &names);
                scope.spawn(move || {
                    // Marsaglia's xorshift.
                    let mut random = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    let mut reads = 0;
                    start.wait();
                    while !is_over.load(Ordering::Relaxed) {
                        for _ in 0..STRIDE {
                            random ^= random << 13;
                            random ^= random >> 7;
                            random ^= random << 17;
                            read(names, random >> 32);
                        }
                        reads += STRIDE;
                    }
                    reads
                })
            })
            .collect();
        let writer = scope.spawn(|| {
            start.wait();
            let (began, mut swaps) = (clock::now(), 0);
            while !is_over.load(Ordering::Relaxed) && write(swaps) {
                swaps += 1;
                let due = PERIOD * u32::try_from(swaps).unwrap_or(u32::MAX);
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
            swaps
        });
        start.wait();
        let began = clock::now();
        thread::sleep(duration);
        is_over.store(true, Ordering::Relaxed);
        let seconds = began.elapsed().as_secs_f64();
        let reads: u64 = workers.into_iter().map(|w| w.join().expect("no reader panics")).sum();
        let swaps = writer.join().expect("the writer does not panic");
        Figures { reads: reads as f64 / seconds, swaps: swaps as f64 / seconds }
    })
}
