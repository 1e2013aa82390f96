//! The simulator against what is known without it, and the batchers against what is promised.

mod checker;
mod ours;
mod properties;
mod tensorflow;
mod theory;
mod triton;
mod window;

use super::*;

const MS: u64 = 1_000_000;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn at(time: u64) -> Instant {
    Instant::ZERO + ms(time)
}

/// A request of one item, shape 0 and priority 0 that comes at this millisecond.
fn request(time: u64) -> Arrival {
    Arrival { index: 0, at: at(time), shape: 0, priority: 0, items: 1, deadline: None }
}

/// Numbers them in order.
fn numbered(mut arrivals: Vec<Arrival>) -> Vec<Arrival> {
    for (index, arrival) in (0..).zip(&mut arrivals) {
        arrival.index = index;
    }
    arrivals
}

/// A batch that was started: when, in milliseconds, its requests, rows and shape.
type Seen = (u64, Vec<u32>, u32, u32);

/// A batcher that others look on.
struct Watched<'a> {
    batcher: &'a mut dyn Batcher,
    batches: Vec<Seen>,
    shed: Vec<(u32, Shed)>,
}

impl Batcher for Watched<'_> {
    fn name(&self) -> &'static str {
        self.batcher.name()
    }

    fn arrive(&mut self, now: Instant, request: &Arrival) -> Result<(), Shed> {
        let entered = self.batcher.arrive(now, request);
        if let Err(why) = entered {
            self.shed.push((request.index, why));
        }
        entered
    }

    fn start(&mut self, now: Instant, idle: usize, decisions: &mut Decisions) {
        self.batcher.start(now, idle, decisions);
        for batch in &decisions.started {
            let seen = (now.as_nanos() / MS, batch.requests.clone(), batch.rows, batch.shape);
            self.batches.push(seen);
        }
        self.shed.extend_from_slice(&decisions.shed);
    }

    fn finished(&mut self, now: Instant, batch: &Started, took: Duration) {
        self.batcher.finished(now, batch, took);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.batcher.next_deadline()
    }
}

/// Which batches were run and what was turned away, where every batch takes ten milliseconds.
fn play(
    batcher: &mut dyn Batcher,
    limits: &Limits,
    arrivals: Vec<Arrival>,
) -> (Vec<Seen>, Vec<(u32, Shed)>) {
    let service = Service::new(Curve::linear(ms(10), Duration::ZERO));
    let mut watched = Watched { batcher, batches: Vec::new(), shed: Vec::new() };
    run(&numbered(arrivals), &mut watched, &service, limits).unwrap();
    (watched.batches, watched.shed)
}

/// The requests of each batch.
fn requests(batches: &[Seen]) -> Vec<&[u32]> {
    batches.iter().map(|(_, requests, ..)| &requests[..]).collect()
}
