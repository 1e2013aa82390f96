//! The buckets themselves.

use super::BOUND;
use crate::quantile::RangeError;
use crate::quantile::grid::{Grid, SPLIT};

#[test]
fn every_bucket_answers_within_the_bound_for_its_ends() {
    let grid = Grid::<30>::DEFAULT;
    let mut lower = grid.lowest();
    for bucket in 0..30 * SPLIT {
        assert_eq!(grid.bucket(lower.to_bits()), bucket);
        let answer = grid.answer(bucket);
        // The next bucket begins where this number no longer falls in this one.
        let mut upper = lower;
        while grid.bucket(upper.to_bits()) == bucket {
            upper = f64::from_bits(upper.to_bits() + (1 << 46));
        }
        let last = upper.next_down();
        assert_eq!(grid.bucket(last.to_bits()), bucket);
        assert!(lower <= answer && answer <= last);
        for end in [lower, last] {
            assert!((answer - end).abs() / end <= BOUND, "bucket {bucket} from {lower}");
        }
        lower = upper;
    }
    assert_eq!(lower, grid.end());
}

#[test]
fn the_default_range_covers_a_microsecond_to_a_thousand_seconds() {
    let grid = Grid::<30>::DEFAULT;
    assert!(grid.lowest() <= 1e-6 && grid.end() >= 1e3);
    assert_eq!(grid, Grid::starting_at(1e-6).unwrap());
}

#[test]
fn a_range_can_begin_at_any_normal_number_that_leaves_room() {
    for lowest in [f64::MIN_POSITIVE, 1e-300, 1.0, 3.0, 1e250] {
        let grid = Grid::<30>::starting_at(lowest).unwrap();
        assert!(grid.lowest() <= lowest && lowest < 2.0 * grid.lowest());
        assert_eq!(grid.end(), grid.lowest() * f64::from(1 << 30));
        assert!(grid.bucket(lowest.to_bits()) < SPLIT);
    }
    for lowest in [0.0, -1.0, f64::MIN_POSITIVE / 2.0, f64::NAN, f64::INFINITY] {
        assert_eq!(Grid::<30>::starting_at(lowest), Err(RangeError::NotPositive));
    }
    for lowest in [1e289, f64::MAX] {
        assert_eq!(Grid::<30>::starting_at(lowest), Err(RangeError::TooHigh));
    }
}
