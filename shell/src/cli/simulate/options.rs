//! What can be said on the command line, checked where it is said.

use crate::simulation::Curve;
use std::path::PathBuf;
use std::str::FromStr;
use tensorforge_core::Duration;
use tensorforge_core::batch::LEVELS;

/// When requests come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Arrivals {
    Poisson,
    Uniform,
    Bursty,
    /// As a file says.
    Trace(PathBuf),
}

impl FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "poisson" => Ok(Self::Poisson),
            "uniform" => Ok(Self::Uniform),
            "bursty" => Ok(Self::Bursty),
            // A misspelt word is no file.
            file if file.contains(['.', '/', '\\']) => Ok(Self::Trace(file.into())),
            _ => Err("choose poisson, uniform, bursty, or name a trace such as trace.csv or \
                      ./trace"
                .to_owned()),
        }
    }
}

/// Execution time through points.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct CurvePoints(pub(super) Curve);

impl FromStr for CurvePoints {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let points: Result<Vec<_>, String> = text.split(',').map(point).collect();
        Curve::through(&points?).map(Self).map_err(|error| error.to_string())
    }
}

fn point(text: &str) -> Result<(f64, Duration), String> {
    let wrong = || format!("'{text}' is not items:time; write points such as 1:2ms,8:3ms,32:8ms");
    let (items, time) = text.split_once(':').ok_or_else(wrong)?;
    let items = items.trim().parse().map_err(|_| wrong())?;
    Ok((items, time_of(time)?))
}

/// A wait for company, of all priorities or of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wait {
    pub(super) priority: Option<u8>,
    pub(super) wait: Duration,
}

impl FromStr for Wait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((priority, wait)) = text.split_once('=') else {
            return Ok(Self { priority: None, wait: time_of(text)? });
        };
        let last = LEVELS - 1;
        let priority =
            priority.trim().parse().ok().filter(|&priority| usize::from(priority) <= last);
        let Some(priority) = priority else {
            return Err(format!("priorities are 0 to {last}, higher first; write 7=0 or 0=5ms"));
        };
        Ok(Self { priority: Some(priority), wait: time_of(wait)? })
    }
}

/// The longest time that can be given: an hour.
const LONGEST: f64 = 3600e9;

/// Reads a length of time up to an hour, with a unit, decimals allowed: `3.6ms`. A bare 0 needs none.
pub(super) fn time_of(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let wrong = || format!("'{text}' is no length of time; write it such as 500us, 3.6ms or 1s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit);
    let unit = match unit.trim() {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        _ => return Err(wrong()),
    };
    let nanos = number.parse::<f64>().map_err(|_| wrong())? * unit;
    if nanos > LONGEST {
        return Err(format!("'{text}' is longer than an hour"));
    }
    if nanos > 0.0 && nanos < 1.0 {
        return Err(format!("'{text}' is shorter than a nanosecond"));
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// The same, but for 0.
pub(super) fn positive_time(text: &str) -> Result<Duration, String> {
    match time_of(text)? {
        Duration::ZERO => Err("must be longer than 0".to_owned()),
        time => Ok(time),
    }
}

/// Requests a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1e-3..=1e9).contains(&rate) => Ok(rate),
        _ => Err("requests a second are a number from 0.001 to 1000000000".to_owned()),
    }
}

/// A share of all.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1, such as 0.1".to_owned()),
    }
}

/// What an item of a shape costs.
pub(super) fn cost(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cost) if (1e-3..=1e6).contains(&cost) => Ok(cost),
        _ => Err("a cost is a number from 0.001 to 1000000; 1 is what the curve says".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_decimals_and_need_a_unit() {
        let nanos = |text| time_of(text).map(Duration::as_nanos);
        for (text, expected) in
            [("3.6ms", 3_600_000), ("200us", 200_000), ("1 s", 1_000_000_000), ("0", 0), ("7ns", 7)]
        {
            assert_eq!(nanos(text), Ok(expected), "{text}");
        }
        for text in
            ["", "5", "-1ms", "1.2.3ms", "ms", "nan", "NaNms", "infs", "2h", "0.1ns", "9999s"]
        {
            assert!(nanos(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wait_is_of_all_priorities_or_of_one() {
        let wait =
            |text: &str| text.parse::<Wait>().map(|wait| (wait.priority, wait.wait.as_nanos()));
        assert_eq!(wait("2ms"), Ok((None, 2_000_000)));
        assert_eq!(wait("7=0"), Ok((Some(7), 0)));
        for text in ["8=1ms", "-1=1ms", "a=1ms", "=1ms", "7=", "256=1ms"] {
            assert!(wait(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_curve_goes_through_its_points() {
        let curve = |text: &str| text.parse::<CurvePoints>();
        let CurvePoints(ok) = curve("1:2ms,9:10ms").unwrap();
        // One millisecond an item between them and on from there.
        let times = [1.0, 5.0, 9.0, 11.0].map(|items| ok.time(items).as_nanos() / 1_000_000);
        assert_eq!(times, [2, 6, 10, 12]);
        for (text, complaint) in [
            ("", "is not items:time"),
            ("1:2ms,8", "is not items:time"),
            ("1:2ms,8:3", "is no length of time"),
            ("8:3ms,1:2ms", "point 2: 1 items come after 8"),
            ("1:3ms,8:2ms", "point 2: negative slope"),
            ("NaN:3ms", "no number of items"),
            ("-1:3ms", "no number of items"),
            ("1:0,8:0", "no time at all"),
        ] {
            let error = curve(text).unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
