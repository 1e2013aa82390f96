//! The engine on bare metal: plays [`script::SCRIPT`] in virtual time and prints each decision.

#![no_std]
#![no_main]

mod script;

use core::panic::PanicInfo;
use cortex_m as _; // brings the critical section that the console needs
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprint, hprintln};
use script::{SCRIPT, What};
use tensorforge_core::{
    ActionSink, Batch, BatchKey, Dropped, Duration, Event, Instant, Lane, ModelId, Queued, Refused,
    Request, StaticEngine, Ticket,
};

/// 16 waiting requests with 4 different keys, over 2 models.
type SmallEngine = StaticEngine<u32, 16, 4, 2>;

struct Console {
    micros: u32,
    tickets: [Option<Ticket>; SCRIPT.len()],
    /// The batch that each model runs.
    running: [Option<Batch>; 2],
}

impl ActionSink<u32> for Console {
    fn dispatch(&mut self, batch: Batch, requests: &mut dyn ExactSizeIterator<Item = Queued<u32>>) {
        let BatchKey { model, signature } = batch.key();
        hprint!("{}us model {} shape {} {:?}:", self.micros, model.0, signature, batch.reason());
        for queued in requests {
            hprint!(" {}", queued.request.payload);
        }
        hprintln!();
        self.running[model.0 as usize] = Some(batch);
    }

    fn refuse(&mut self, request: Request<u32>, why: Refused) {
        hprint!("{}us refused {}: ", self.micros, request.payload);
        match why {
            // Without when to come again, which follows from measured times and not from the rules.
            Refused::ModelQueueFull { max_queued, .. } => {
                hprintln!("ModelQueueFull {{ max_queued: {} }}", max_queued);
            }
            why => hprintln!("{:?}", why),
        }
    }

    fn queued(&mut self, ticket: Ticket, &id: &u32) {
        self.tickets[id as usize] = Some(ticket);
    }

    fn release(&mut self, queued: Queued<u32>, _: Dropped) {
        hprintln!("{}us cancelled {}", self.micros, queued.request.payload);
    }
}

#[entry]
fn main() -> ! {
    static mut ENGINE: SmallEngine = StaticEngine::new();
    play(ENGINE);
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

fn play(engine: &mut SmallEngine) {
    configure(engine, 0, Lane::new(4, Duration::from_micros(1000)));
    configure(engine, 1, Lane::new(2, Duration::from_micros(500)));

    let mut console = Console { micros: 0, tickets: [None; SCRIPT.len()], running: [None, None] };
    let mut wake: Option<Instant> = None;
    for (micros, what) in SCRIPT {
        while let Some(deadline) = wake.filter(|&deadline| deadline <= at(*micros)) {
            console.micros = (deadline.as_nanos() / 1000) as u32;
            wake = engine.handle(deadline, Event::Tick, &mut console);
        }
        console.micros = *micros;
        let event = match *what {
            What::Arrive { id, model, shape, items, priority } => {
                let key = BatchKey { model: ModelId(model), signature: shape };
                Event::Arrived(Request { priority, ..Request::new(key, items, id) })
            }
            What::Cancel { id } => {
                let ticket = console.tickets[id as usize];
                Event::Cancelled(ticket.expect("the script cancels what it queued"))
            }
            What::Finish { model } => {
                let batch = console.running[model as usize].take();
                let batch = batch.expect("the script ends what was begun");
                let took = at(*micros).since(batch.started());
                Event::Finished { batch, took, memory: None }
            }
            What::Drain => Event::Drain,
        };
        wake = engine.handle(at(*micros), event, &mut console);
    }
    assert!(engine.is_drained(), "the script ends with nothing left");
    hprintln!("{}us drained", console.micros);
}

fn configure(engine: &mut SmallEngine, model: u32, lane: Lane) {
    let lane = Lane { max_queued: 3, ..lane };
    engine.configure(ModelId(model), lane).expect("the lane can run requests");
}

const fn at(micros: u32) -> Instant {
    Instant::from_nanos(micros as u64 * 1000)
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
