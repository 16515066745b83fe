//! Prometheus' text, as far as our figures need it.

use std::collections::BTreeMap;

/// The value of every series of this name whose labels are all taken by `wanted`, added up.
pub(crate) fn sum(text: &str, name: &str, wanted: impl Fn(&Labels) -> bool) -> f64 {
    let found = series(text, name).filter(|(labels, _)| wanted(labels));
    found.map(|(_, value)| value).sum()
}

/// A series' labels.
pub(crate) type Labels = BTreeMap<String, String>;

/// All series of exactly this name. No label's value that is read here holds a comma or a brace.
pub(crate) fn series<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (Labels, f64)> + 'a {
    text.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        let inner = match labels {
            "" => "",
            labels => labels.strip_prefix('{')?.strip_suffix('}')?,
        };
        let pairs = inner.split(',').filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.to_owned(), value.trim_matches('"').to_owned()))
        });
        Some((pairs.collect(), value.parse().ok()?))
    })
}

/// A histogram's counts up to and with each bound, of several series together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    up_to: BTreeMap<u64, f64>,
}

/// Bounds are told apart to a microsecond.
const PARTS: f64 = 1e6;

impl Histogram {
    /// Adds all series of this histogram; `sign` −1 takes an earlier reading away.
    pub(crate) fn add(&mut self, text: &str, name: &str, sign: f64) {
        for (labels, count) in series(text, &format!("{name}_bucket")) {
            let bound = labels.get("le").and_then(|le| le.parse::<f64>().ok());
            let Some(bound) = bound else { continue };
            *self.up_to.entry(key(bound)).or_default() += sign * count;
        }
    }

    /// How many values.
    pub(crate) fn count(&self) -> f64 {
        self.up_to.values().last().copied().unwrap_or(0.0)
    }

    /// The value below which this share of all lies (0 to 1), as if they lay evenly between two bounds; the last finite
    /// bound when it is above that.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let goal = self.count() * share;
        let (mut below, mut from) = (0.0, 0.0);
        for (bound, count) in &self.up_to {
            if *bound == u64::MAX {
                return from;
            }
            let to = seconds(*bound);
            if *count >= goal && *count > below {
                return from + (to - from) * (goal - below) / (count - below);
            }
            (below, from) = (*count, to);
        }
        from
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounds of our own histograms: 2 ms to 2 min, and infinity, which saturates"
)]
fn key(bound: f64) -> u64 {
    (bound * PARTS).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "at most 2 min in microseconds")]
fn seconds(key: u64) -> f64 {
    key as f64 / PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE took histogram
took_bucket{pod=\"a\",le=\"0.002\"} 0
took_bucket{pod=\"a\",le=\"0.01\"} 50
took_bucket{pod=\"a\",le=\"0.02\"} 100
took_bucket{pod=\"a\",le=\"+Inf\"} 100
asked{verb=\"get\",code=\"200\"} 3
asked{verb=\"update\",code=\"200\"} 4
asked_twice{verb=\"get\"} 100
up 1
";

    #[test]
    fn series_are_added_by_their_labels() {
        let is_get = |labels: &Labels| labels.get("verb").is_some_and(|verb| verb == "get");
        assert!((sum(TEXT, "asked", is_get) - 3.0).abs() < f64::EPSILON);
        assert!((sum(TEXT, "asked", |_| true) - 7.0).abs() < f64::EPSILON);
        assert!((sum(TEXT, "up", |_| true) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_quantile_lies_between_two_bounds() {
        let mut all = Histogram::default();
        all.add(TEXT, "took", 1.0);
        assert!((all.count() - 100.0).abs() < f64::EPSILON);
        assert!((all.quantile(0.5) - 0.01).abs() < 1e-9);
        assert!((all.quantile(0.75) - 0.015).abs() < 1e-9);
        all.add(TEXT, "took", -1.0);
        assert!(all.count().abs() < f64::EPSILON);
    }
}
