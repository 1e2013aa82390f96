//! The run loop finds every batcher that breaks a promise: each of these is wrong on purpose.

use super::*;
use std::collections::VecDeque;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    Forgets,
    RunsTwice,
    ShedsWhatRuns,
    TooLarge,
    Miscounts,
    StartsOnBusy,
    NeverWaits,
}

/// One request after the other, with a fault at the fifth.
struct Wrong {
    fault: Fault,
    waiting: VecDeque<Arrival>,
    came: u32,
}

impl Batcher for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn arrive(&mut self, _now: Instant, request: &Arrival) -> Result<(), Shed> {
        self.came += 1;
        if self.came != 5 || self.fault != Fault::Forgets {
            self.waiting.push_back(*request);
        }
        Ok(())
    }

    fn start(&mut self, _now: Instant, idle: usize, decisions: &mut Decisions) {
        let fault = if self.came == 5 { self.fault } else { Fault::None };
        if idle == 0 && fault != Fault::StartsOnBusy {
            return;
        }
        let Some(request) = self.waiting.pop_front() else { return };
        let mut requests = vec![request.index];
        let mut items = request.items;
        match fault {
            Fault::RunsTwice => requests.push(request.index),
            Fault::ShedsWhatRuns => decisions.shed.push((request.index, Shed::Expired)),
            Fault::Miscounts => items += 1,
            Fault::TooLarge => {
                while let Some(next) = self.waiting.pop_front() {
                    requests.push(next.index);
                    items += next.items;
                }
            }
            _ => {}
        }
        decisions.started.push(Started { requests, items, rows: items, shape: 0, why: "full" });
    }

    fn finished(&mut self, _now: Instant, _batch: &Started, _took: Duration) {}

    fn next_deadline(&self) -> Option<Instant> {
        (self.fault == Fault::NeverWaits).then_some(Instant::ZERO)
    }
}

fn verdict(fault: Fault, arrivals: &[Arrival]) -> Result<Report, Violation> {
    let mut batcher = Wrong { fault, waiting: VecDeque::new(), came: 0 };
    let service = Service::new(Curve::linear(ms(10), Duration::ZERO));
    run(arrivals, &mut batcher, &service, &Limits::new(2, Duration::ZERO))
}

#[test]
fn a_broken_promise_is_found() {
    // All within the first batch, so that they queue up behind it.
    let arrivals = numbered((0..8).map(request).collect());
    assert_eq!(verdict(Fault::None, &arrivals).map(|report| report.answered), Ok(8));
    for (fault, found) in [
        (Fault::Forgets, Violation::Forgotten(1, 4)),
        (Fault::StartsOnBusy, Violation::NoExecutor),
        (Fault::NeverWaits, Violation::Stuck(Instant::ZERO)),
    ] {
        assert_eq!(verdict(fault, &arrivals), Err(found), "{fault:?}");
    }
    // With time between them, the fifth finds an idle executor.
    let arrivals = numbered((0..8).map(|turn| request(20 * turn)).collect());
    for (fault, found) in [
        (Fault::RunsTwice, Violation::NotWaiting(4)),
        (Fault::ShedsWhatRuns, Violation::NotWaiting(4)),
        (Fault::Miscounts, Violation::Miscounted { items: 2, rows: 2, truly: 1 }),
    ] {
        assert_eq!(verdict(fault, &arrivals), Err(found), "{fault:?}");
    }
    // The fifth comes while the second runs; it is the last of three that wait then.
    let arrivals = numbered([0, 1, 2, 3, 12, 60].map(request).to_vec());
    let found = Violation::TooLarge { items: 3, max_items: 2 };
    assert_eq!(verdict(Fault::TooLarge, &arrivals), Err(found));
}

#[test]
fn arrivals_out_of_order_are_found() {
    for (arrivals, place) in [
        (numbered([5, 4].map(request).to_vec()), 1),
        ([1, 2].map(request).to_vec(), 1),
        (vec![Arrival { priority: LEVELS as u8, ..request(0) }], 0),
    ] {
        assert_eq!(verdict(Fault::None, &arrivals), Err(Violation::BadArrival(place)));
    }
}
