//! What streaming figures take: a fixed room, and nothing from the allocator.
//!
//! `unsafe` here: an allocator has to be, to count.
#![allow(unsafe_code, reason = "an allocator that counts")]

mod statistics {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    use tensorforge::statistics::ResponseTimeTracker;
    use tensorforge_core::quantile::{P2, Sketch, Window};
    use tensorforge_core::stats::{
        Divisor, Ewma, Extremes, Moments, MovingAverage, PageHinkley, PairMoments, PeakEwma, Rate,
        covariance_matrix, matrix_scratch_len, moving_average,
    };
    use tensorforge_core::{Duration, Instant};

    /// Counts what the current thread asks for.
    struct Counting;

    std::thread_local! {
        static ASKED: Cell<u64> = const { Cell::new(0) };
    }

    // SAFETY: the system's allocator does the work.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            ASKED.with(|asked| asked.set(asked.get() + 1));
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(memory, layout) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    /// How often `run` asked for memory.
    fn allocations(run: impl FnOnce()) -> u64 {
        let before = ASKED.with(Cell::get);
        run();
        ASKED.with(Cell::get) - before
    }

    /// Latencies in milliseconds with a long tail, and now and then what is none.
    fn latencies(count: u32) -> impl Iterator<Item = f64> {
        (0..count).map(|i| match i % 1000 {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => -1.0,
            3 => 0.0,
            4 => 1e300,
            _ => {
                let uniform = f64::from(i.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX);
                1.0 / (1.001 - uniform)
            }
        })
    }

    const COUNT: u32 = 1_000_000;

    #[test]
    fn the_counter_counts() {
        assert_eq!(allocations(|| drop(std::hint::black_box(vec![1, 2, 3]))), 1);
    }

    #[test]
    fn a_million_responses_are_tracked_without_allocating() {
        let tracker = ResponseTimeTracker::new(10_000);
        let asked = allocations(|| {
            for ms in latencies(COUNT) {
                tracker.record(ms);
            }
            assert!(tracker.p50() <= tracker.p95() && tracker.p95() <= tracker.p99());
        });
        assert_eq!((asked, tracker.count()), (0, 10_000));
    }

    #[test]
    fn streams_are_summed_up_without_allocating() {
        let mut sketch: Sketch = Sketch::starting_at(1e-3).unwrap();
        let mut replica = sketch.clone();
        let mut window = Window::<[u16; 1000]>::new([0; 1000]);
        let mut p2 = P2::new([0.5, 0.95, 0.99]).unwrap();
        let (mut moments, mut pairs) = (Moments::new(), PairMoments::new());
        let (mut average, mut ewma) = (MovingAverage::<100>::new(), Ewma::new(0.1).unwrap());
        let mut peak = PeakEwma::new(Duration::from_secs(10));
        let mut rate = Rate::new(Duration::from_secs(10), Instant::ZERO);
        let (mut extremes, mut shifts) =
            (Extremes::<100>::new(), PageHinkley::new(1.0, 1000.0).unwrap());
        let asked = allocations(|| {
            let mut now = Instant::ZERO;
            for value in latencies(COUNT) {
                now = now + Duration::from_micros(100);
                sketch.insert(value);
                window.insert(value);
                p2.insert(value);
                moments.insert(value);
                pairs.insert(value, value);
                average.insert(value);
                ewma.insert(value);
                peak.insert(value, now);
                rate.record(1, now);
                extremes.insert(value);
                shifts.observe(value);
            }
            replica.merge(&sketch).unwrap();
            let _ = (replica.quantile(0.99), replica.sum(), window.quantile(0.5), p2.quantiles());
        });
        assert_eq!(asked, 0);
        assert_eq!(replica.count() + replica.rejected(), u64::from(COUNT));
        assert_eq!(moments.count() + moments.rejected(), u64::from(COUNT));
        assert_eq!((window.len(), average.iter().len()), (1000, 100));
    }

    #[test]
    fn slices_are_summed_up_without_allocating() {
        let values: Vec<f64> = latencies(64_000).collect();
        let (mut matrix, mut scratch) = ([0.0; 64], vec![0.0; matrix_scratch_len(8)]);
        let asked = allocations(|| {
            let moments = Moments::from_slice(&values);
            let pairs = PairMoments::from_slices(&values, &values).unwrap();
            assert_eq!(moments.count(), pairs.count());
            assert!(moving_average(&values, 1000).flatten().all(f64::is_finite));
            let rows = covariance_matrix(&values, 8, Divisor::Sample, &mut matrix, &mut scratch);
            assert!(rows.is_ok_and(|count| count.used > 7000 && count.rejected > 0));
        });
        assert_eq!(asked, 0);
        assert!(matrix.iter().all(|cell| cell.is_finite()));
    }
}
