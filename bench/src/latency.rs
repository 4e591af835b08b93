//! How long something took, many times.

use std::time::Duration;

/// All times of one run.
#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn note(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds; this share of all is no slower.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "nobody measures 2^52 times"
        )]
        let index = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(index.saturating_sub(1)).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_is_no_slower_than_what_is_told() {
        let mut latencies = Latencies::default();
        (1..=100).rev().for_each(|milliseconds| latencies.note(Duration::from_millis(milliseconds)));
        assert_eq!([0.5, 0.99, 1.0].map(|share| latencies.at(share).round().to_string()), ["50", "99", "100"]);
        assert_eq!(Latencies::default().at(0.5).to_string(), "0");
    }
}
