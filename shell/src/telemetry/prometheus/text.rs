//! Writes Prometheus' text: families with their `HELP` and `TYPE`, samples, histograms.

use std::fmt::{Display, Write};

/// A label's name and value.
pub(crate) type Label<'a> = (&'a str, &'a dyn Display);

/// The text so far.
#[derive(Default)]
pub(crate) struct Text {
    text: String,
    /// The family that samples belong to.
    family: &'static str,
}

impl Text {
    /// Begins a family, `counter`, `gauge` or `histogram`, to which the samples that follow belong.
    pub(crate) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        // None of ours has a backslash or a line break, which would have to be escaped.
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample of the family.
    pub(crate) fn sample(&mut self, labels: &[Label<'_>], value: &dyn Display) {
        self.named_sample("", labels, value);
    }

    /// A histogram, from cumulative buckets.
    pub(crate) fn histogram(
        &mut self,
        labels: &[Label<'_>],
        buckets: &[(impl Display, u64)],
        count: u64,
        sum: &dyn Display,
    ) {
        for (bound, held) in buckets {
            self.named_sample("_bucket", &[labels, &[("le", bound)]].concat(), held);
        }
        self.named_sample("_bucket", &[labels, &[("le", &"+Inf")]].concat(), &count);
        self.named_sample("_sum", labels, sum);
        self.named_sample("_count", labels, &count);
    }

    fn named_sample(&mut self, suffix: &str, labels: &[Label<'_>], value: &dyn Display) {
        let family = self.family;
        self.put(format_args!("{family}{suffix}"));
        for (at, (name, value)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            self.put(format_args!("{open}{name}=\""));
            // What is written here goes through the escapes; no text of its own is built.
            let _ = write!(Escaped(&mut self.text), "{value}");
            self.text.push('"');
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{close} {value}\n"));
    }

    /// All of it.
    pub(crate) fn into_string(self) -> String {
        self.text
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(what);
    }
}

/// Writes a label's value: backslashes, quotation marks and line breaks escaped.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        for character in part.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}
