//! A sum of one number per update, whatever the order of arrival.

/// Numbers of a round, one per source, added up in the order of the sources when it ends.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    numbers: Vec<(String, f64)>,
}

impl Tally {
    pub(crate) fn push(&mut self, source: &str, number: f64) {
        self.numbers.push((source.to_owned(), number));
    }

    /// The sum; nothing is left.
    pub(crate) fn take(&mut self) -> f64 {
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.sort_by(|(a, x), (b, y)| a.cmp(b).then(x.total_cmp(y)));
        numbers.into_iter().map(|(_, number)| number).sum()
    }
}
