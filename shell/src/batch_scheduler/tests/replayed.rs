//! What was recorded is decided again, to the last bit.

use super::care::Pairs;
use super::*;
use crate::trace::replay::{ReplayError, Replayed, replay};
use std::io::Write;

/// A file in memory.
#[derive(Clone, Default)]
pub(super) struct Buffer(pub(super) Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Serves requests of all kinds: good and poisoned, of several shapes and priorities, in parts, cancelled,
/// too late and too many.
async fn record() -> (String, u64) {
    let config = ModelConfig {
        max_batch: 4,
        max_wait: std::time::Duration::from_micros(50),
        max_queued: 40,
        displace: true,
        escalate: true,
        instances: 2,
        batch_sizes: Some(vec![1, 3, 4]),
        padding: crate::config::PaddingConfig::Cheapest,
        ..Default::default()
    };
    let trace = Buffer::default();
    let bench = bench(Setup { config, trace: Some(trace.clone()), ..Default::default() });
    bench.scheduler.set_fairness(100, std::time::Duration::from_micros(100));
    let (answered, _told) = mpsc::channel();
    // One of each for certain, before they crowd each other out.
    assert!(bench.send(&[1.0]).await.unwrap().is_ok());
    assert!(bench.send(&[POISON]).await.unwrap().is_err());
    let mut answers = Vec::new();
    for i in 0..400_usize {
        let rows = 1 + i % 6;
        let value = if i % 29 == 0 { POISON } else { i as f32 };
        let width = 1 + i % 2;
        let tensor = Tensor::from_f32("x", vec![rows, width], &vec![value; rows * width]);
        let timeout = (i % 7 == 0).then_some(std::time::Duration::from_micros(80));
        let demand = Demand { priority: (i % 3) as u8, timeout, ..Demand::default() };
        let answer = bench.spawn(tensor, demand);
        if i % 11 == 0 {
            tokio::task::yield_now().await;
            answer.abort();
        }
        answers.push(answer);
        if i == 300 {
            let rule = Pairs::new(answered.clone());
            bench.scheduler.set_rule(ModelId(0), Some(Box::new(rule)));
        }
    }
    bench.scheduler.set_rule(ModelId(0), None);
    let mut succeeded = 1;
    for answer in answers {
        succeeded += u64::from(matches!(answer.await, Ok(Ok(_))));
    }
    bench.scheduler.drain().await;
    let Bench { scheduler, .. } = bench;
    drop(Arc::into_inner(scheduler).expect("every request has ended"));
    let text = String::from_utf8(lock(&trace.0).clone()).unwrap();
    (text, succeeded)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_of_a_server_is_made_again() {
    let (trace, succeeded) = record().await;
    let mut read = 0;
    let replayed = replay(trace.as_bytes(), |bytes| read = bytes).unwrap();
    assert_eq!(read, trace.len() as u64);
    let Replayed { calls, arrived, batches, complete, .. } = replayed;
    assert!(complete);
    assert_eq!(calls, trace.matches("\"call\"").count() as u64);
    assert_eq!(arrived, trace.matches("{\"arrived\"").count() as u64);
    assert_eq!(batches, trace.matches("\"dispatched\"").count() as u64);
    assert!(succeeded <= arrived && batches > 1 && trace.contains("\"failed\""), "{replayed:?}");
}

/// A model that goes takes what was learned of it along, in the trace too: without that line the batches of
/// the next would be decided otherwise, or the number be in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_used_again_is_in_the_trace() {
    let config = ModelConfig { escalate: true, ..Default::default() };
    let trace = Buffer::default();
    let bench = bench(Setup { config, trace: Some(trace.clone()), ..Default::default() });
    let is_given_up = |error: &RunError| error.is_overload();
    while !is_given_up(&bench.send(&[POISON]).await.unwrap().unwrap_err()) {}
    assert!(bench.scheduler.forget(ModelId(0)));
    let refused = bench.send(&[1.0]).await.unwrap().unwrap_err();
    assert_eq!(refused, RunError::Refused(Refused::UnknownModel));
    bench.scheduler.add(&bench.model).unwrap();
    assert_eq!(values(bench.send(&[1.0])).await, [2.0], "its circuit is closed");
    bench.scheduler.drain().await;
    let Bench { scheduler, .. } = bench;
    drop(Arc::into_inner(scheduler).expect("every request has ended"));
    let text = String::from_utf8(lock(&trace.0).clone()).unwrap();
    let replayed = replay(text.as_bytes(), |_| ()).unwrap();
    assert!(replayed.complete && replayed.refused >= 2, "{replayed:?}");

    let lines: Vec<&str> = text.lines().collect();
    let place = lines.iter().position(|line| *line == r#"{"set":{"forget":0}}"#).unwrap();
    let mut without = lines.clone();
    without.remove(place);
    assert!(replay(without.join("\n").as_bytes(), |_| ()).is_err());
    // It cannot have been forgotten while a batch of it ran.
    let dispatched = lines.iter().position(|line| line.contains("\"dispatched\"")).unwrap();
    let mut too_early = lines.clone();
    too_early.insert(dispatched + 1, lines[place]);
    let error = replay(too_early.join("\n").as_bytes(), |_| ()).unwrap_err().to_string();
    assert!(error.contains("is forgotten while requests of it are there"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_was_changed_in_the_trace_is_found_in_its_line() {
    let (trace, _) = record().await;
    let lines: Vec<&str> = trace.lines().collect();
    let place = lines.iter().rposition(|line| line.contains("\"dispatched\"")).unwrap();
    let forged = lines[place].replacen("\"padded\":", "\"padded\":1", 1);
    let mut forged_lines = lines.clone();
    forged_lines[place] = &forged;
    let error = replay(forged_lines.join("\n").as_bytes(), |_| ()).unwrap_err();
    let ReplayError::Differs { line, .. } = error else { panic!("{error}") };
    assert_eq!(line, place as u64 + 1);
    // An event that is left out makes what follows impossible or different.
    let mut shorter = lines.clone();
    let came = |line: &&str| line.contains("{\"arrived\"") && line.contains("{\"queued\"");
    shorter.remove(lines.iter().position(came).unwrap());
    assert!(replay(shorter.join("\n").as_bytes(), |_| ()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_whose_server_was_killed_is_replayed_as_far_as_it_goes() {
    let (trace, _) = record().await;
    let cut = &trace[..trace.len() - 60];
    let replayed = replay(cut.as_bytes(), |_| ()).unwrap();
    assert!(!replayed.complete && replayed.calls > 0);
}

#[test]
fn what_is_no_trace_is_refused_by_line() {
    let begin = |format: u32, places: usize| {
        format!(
            r#"{{"begin":{{"format":{format},"version":"0","requests":{places},"groups":1,"models":1}}}}"#
        )
    };
    let tick = r#"{"call":{"at":0,"event":"tick","wake":null}}"#;
    for (text, complaint) in [
        (String::new(), "line 1 is no line of a trace: it does not begin with `begin`"),
        ("hello\n".into(), "line 1 is no line of a trace: expected value"),
        (tick.into(), "it does not begin with `begin`"),
        (begin(2, 1), "the trace has format 2"),
        (begin(1, 0), "places for [0, 1, 1] requests"),
        (begin(1, 1 << 30), "places for [1073741824, 1, 1] requests"),
        (format!("{}\n{}", begin(1, 1), begin(1, 1)), "line 2 is no line of a trace: it begins"),
        (
            format!(
                "{}\n{}",
                begin(1, 1),
                tick.replace(r#""tick""#, r#"{"withdrawn":{"batch":7}}"#)
            ),
            "line 2 is no line of a trace: it names a batch that does not run",
        ),
        (format!("{}\n{}", begin(1, 1), tick.replace("null", "5")), "line 2: decided otherwise"),
    ] {
        let error = replay(text.as_bytes(), |_| ()).unwrap_err().to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}
