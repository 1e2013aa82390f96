//! Recorded arrivals: CSV with a head, one JSON object a line, or what a server recorded.

use super::options::time_of;
use super::recording::{self, is_recording};
use crate::cli::CliError;
use crate::simulation::Arrival;
use serde::Deserialize;
use std::path::Path;
use tensorforge_core::batch::LEVELS;
use tensorforge_core::{Duration, Instant};

/// Shapes are numbered below this.
pub(super) const SHAPES: u32 = 1024;

/// Requests in one run at most.
pub(super) const MOST: u32 = 10_000_000;

const COLUMNS: [&str; 5] = ["at", "shape", "priority", "items", "deadline"];

/// One line, as it is written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Line {
    at: Option<Value>,
    shape: Option<Value>,
    priority: Option<Value>,
    items: Option<Value>,
    deadline: Option<Value>,
}

/// A number of seconds, or text with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Number(f64),
    Text(String),
}

/// The arrivals that a file holds; those of `model`, where a server recorded those of several.
///
/// # Errors
/// [`CliError`] names the file, and the line that is wrong.
pub(super) fn read(path: &Path, model: Option<&str>) -> Result<Vec<Arrival>, CliError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::unusable(format!("cannot read {}: {error}", path.display())).help(
            "name a file of CSV with the head at,shape,priority,items,deadline, or JSON lines",
        )
    })?;
    let recording = text.lines().next().is_some_and(is_recording);
    if model.is_some() && !recording {
        let path = path.display();
        return Err(CliError::usage(format!("--model chooses from a recording; {path} is none"))
            .help(
                "leave --model out, or name a file that `tensorforge serve --record FILE` wrote",
            ));
    }
    let arrivals = if recording { recording::arrivals(&text, model) } else { parse(&text) };
    arrivals.map_err(|(line, what)| {
        CliError::unusable(format!("{}:{line}: {what}", path.display())).help(
            "each line has `at` in seconds or with a unit, ascending, or is of a server's recording; \
             `tensorforge simulate --help` shows the forms",
        )
    })
}

/// The line that is wrong, counted from 1, and what is wrong with it.
pub(super) type Wrong = (usize, String);

fn parse(text: &str) -> Result<Vec<Arrival>, Wrong> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).peekable();
    let Some(&(_, first)) = lines.peek() else { return Err((1, "it has no requests".to_owned())) };
    let columns = if first.starts_with('{') { None } else { Some(head(lines.next())?) };
    let mut arrivals: Vec<Arrival> = Vec::new();
    for (number, line) in lines {
        let wrong = |what: String| (number, what);
        let line = match &columns {
            None => serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?,
            Some(columns) => cells(columns, line).map_err(wrong)?,
        };
        let index = u32::try_from(arrivals.len()).unwrap_or(u32::MAX);
        if index >= MOST {
            return Err(wrong(format!("there are more than {MOST} requests")));
        }
        let arrival = arrival(index, line).map_err(wrong)?;
        if let Some(before) = arrivals.last()
            && arrival.at < before.at
        {
            let seconds = |at: Instant| at.as_nanos() as f64 / 1e9;
            return Err(wrong(format!(
                "at {} s it is out of order: the request before came at {} s",
                seconds(arrival.at),
                seconds(before.at),
            )));
        }
        arrivals.push(arrival);
    }
    match arrivals.is_empty() {
        true => Err((1, "it has a head and no requests".to_owned())),
        false => Ok(arrivals),
    }
}

/// For each cell of a row, which column it is.
fn head(line: Option<(usize, &str)>) -> Result<Vec<usize>, Wrong> {
    let (number, line) = line.unwrap_or((1, ""));
    let mut columns = Vec::new();
    for cell in line.split(',').map(str::trim) {
        match COLUMNS.iter().position(|column| *column == cell) {
            Some(column) if !columns.contains(&column) => columns.push(column),
            Some(_) => return Err((number, format!("the column '{cell}' is there twice"))),
            None => {
                let known = COLUMNS.join(", ");
                return Err((number, format!("'{cell}' is no column; they are {known}")));
            }
        }
    }
    match columns.contains(&0) {
        true => Ok(columns),
        false => Err((number, "the column 'at' is missing".to_owned())),
    }
}

fn cells(columns: &[usize], text: &str) -> Result<Line, String> {
    let cells: Vec<&str> = text.split(',').map(str::trim).collect();
    if cells.len() != columns.len() {
        return Err(format!("it has {} cells, and the head {}", cells.len(), columns.len()));
    }
    let mut line = Line::default();
    for (&column, cell) in columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
        let value = Some(match cell.parse() {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Text(cell.to_owned()),
        });
        match column {
            0 => line.at = value,
            1 => line.shape = value,
            2 => line.priority = value,
            3 => line.items = value,
            _ => line.deadline = value,
        }
    }
    Ok(line)
}

fn arrival(index: u32, line: Line) -> Result<Arrival, String> {
    let at = instant("at", line.at.ok_or("'at' is missing")?)?;
    let deadline = line.deadline.map(|deadline| instant("deadline", deadline)).transpose()?;
    if deadline.is_some_and(|deadline| deadline <= at) {
        return Err("its deadline is not after it came".to_owned());
    }
    let last = LEVELS as u32 - 1;
    let shape = number("shape", line.shape, 0, 0..=SHAPES - 1)?;
    let priority = number("priority", line.priority, 0, 0..=last)? as u8;
    let items = number("items", line.items, 1, 1..=1_000_000)?;
    Ok(Arrival { index, at, shape, priority, items, deadline })
}

fn number(
    name: &str,
    value: Option<Value>,
    default: u32,
    range: std::ops::RangeInclusive<u32>,
) -> Result<u32, String> {
    let Some(value) = value else { return Ok(default) };
    let (least, most) = (f64::from(*range.start()), f64::from(*range.end()));
    match value {
        Value::Number(number) if number.fract() == 0.0 && (least..=most).contains(&number) => {
            Ok(number as u32)
        }
        Value::Number(number) => {
            Err(format!("{name} is {number}, and must be a whole number from {least} to {most}"))
        }
        Value::Text(text) => Err(format!("{name} is '{text}', and must be a number")),
    }
}

/// Thirty years: times in nanoseconds have room for what comes after.
const LONGEST_SECONDS: f64 = 1e9;

fn instant(name: &str, value: Value) -> Result<Instant, String> {
    match value {
        Value::Number(seconds) if (0.0..=LONGEST_SECONDS).contains(&seconds) => {
            Ok(Instant::from_nanos((seconds * 1e9).round() as u64))
        }
        Value::Number(seconds) => {
            Err(format!("{name} is {seconds}, and must be seconds from 0 to {LONGEST_SECONDS}"))
        }
        Value::Text(text) => {
            let time: Duration = time_of(&text).map_err(|error| format!("{name}: {error}"))?;
            Ok(Instant::ZERO + time)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let csv = "# a comment\nat,priority,shape,items,deadline\n0,7,1,2,0.5\n1.5ms,,,,\n";
        let json = r#"{"at": 0, "priority": 7, "shape": 1, "items": 2, "deadline": "500ms"}
                      {"at": "1.5ms"}"#;
        let at = Instant::from_nanos;
        let expected = [
            Arrival {
                index: 0,
                at: at(0),
                shape: 1,
                priority: 7,
                items: 2,
                deadline: Some(at(500_000_000)),
            },
            Arrival {
                index: 1,
                at: at(1_500_000),
                shape: 0,
                priority: 0,
                items: 1,
                deadline: None,
            },
        ];
        assert_eq!(parse(csv).unwrap(), expected);
        assert_eq!(parse(json).unwrap(), expected);
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, line, complaint) in [
            ("", 1, "no requests"),
            ("at\n", 1, "no requests"),
            ("shape\n1", 1, "'at' is missing"),
            ("at,size\n1,1", 1, "'size' is no column"),
            ("at,at\n1,1", 1, "twice"),
            ("at,shape\n1", 2, "1 cells, and the head 2"),
            ("at\n2\n\n1", 4, "out of order"),
            ("at\nNaN", 2, "at is NaN"),
            ("at\n-1", 2, "at is -1"),
            ("at\nsoon", 2, "no length of time"),
            ("at,shape\n,1", 2, "'at' is missing"),
            ("at,priority\n1,8", 2, "priority is 8"),
            ("at,priority\n1,-1", 2, "priority is -1"),
            ("at,items\n1,0", 2, "items is 0"),
            ("at,items\n1,1.5", 2, "items is 1.5"),
            ("at,shape\n1,1024", 2, "shape is 1024"),
            ("at,deadline\n1,1", 2, "deadline"),
            ("{\"at\": 1}\n{\"when\": 1}", 2, "unknown field"),
            ("{\"at\": 1}\n{\"at\": 0.5}", 2, "out of order"),
            ("{\"at\": 1", 1, "EOF"),
        ] {
            let (at, what) = parse(text).unwrap_err();
            assert!(at == line && what.contains(complaint), "{text:?}: {at}: {what}");
        }
    }
}
