//! Samples by name, told as median and range.

use std::collections::BTreeMap;

/// Samples of several figures, each in milliseconds or another unit that its name tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    names: Vec<String>,
    samples: BTreeMap<String, Vec<f64>>,
}

impl Figures {
    /// Adds a sample.
    pub(crate) fn add(&mut self, name: &str, sample: f64) {
        if !self.samples.contains_key(name) {
            self.names.push(name.to_owned());
        }
        self.samples
            .entry(name.to_owned())
            .or_default()
            .push(sample);
    }

    /// Prints all, in the order in which they first came.
    pub(crate) fn print(&self, title: &str) {
        if self.names.is_empty() {
            return;
        }
        println!(
            "\n{title}\n{:<58} {:>9} {:>9} {:>9}   n",
            "", "median", "min", "max"
        );
        for name in &self.names {
            let Some(samples) = self.samples.get(name) else {
                continue;
            };
            let mut sorted = samples.clone();
            sorted.sort_by(f64::total_cmp);
            let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
                continue;
            };
            let median = median(samples);
            println!(
                "{name:<58} {median:>9.2} {min:>9.2} {max:>9.2}   {}",
                sorted.len()
            );
        }
    }
}

/// The middle one, or the mean of the two in the middle; not a number without samples.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    }
}
