//! What a benchmark's sections leave for its end.

use serde_json::{Map, Value, json};

use crate::target::Target;

/// Every target under its cell's title, and the JSON.
#[derive(Default)]
pub struct Report {
    targets: Vec<(String, Target)>,
    sections: Map<String, Value>,
}

impl Report {
    /// Adds a cell of `section`.
    ///
    /// # Panics
    /// When [`insert`](Self::insert) was given a fact by the section's name.
    pub fn add(&mut self, section: &str, title: &str, targets: Vec<Target>, figures: Value) {
        self.targets.extend(targets.into_iter().map(|target| (title.to_owned(), target)));
        let cells = self.sections.entry(section).or_insert_with(|| json!([]));
        cells.as_array_mut().expect("sections are lists").push(figures);
    }

    /// Adds a fact about the whole run to the JSON.
    pub fn insert(&mut self, name: &str, fact: Value) {
        self.sections.insert(name.into(), fact);
    }

    /// Prints the targets that were missed, or everything as one JSON object.
    pub fn finish(mut self, json: bool) {
        let missed: Vec<_> = self.targets.iter().filter(|(_, target)| !target.reached()).collect();
        if json {
            self.sections.insert("targets".into(), self.targets.len().into());
            self.sections.insert("missed".into(), missed.len().into());
            println!("{}", Value::Object(self.sections));
        } else {
            println!("\n{} of {} targets missed", missed.len(), self.targets.len());
            missed.iter().for_each(|(title, target)| println!("  {title}: {}", target.line()));
        }
    }
}
