//! What the guests stamped, as times. All stamps are of one machine's clock.

use serde_json::Value;

/// One round, in seconds since 1970.
#[derive(Debug, Clone, Default)]
pub(super) struct Round {
    begun: f64,
    ended: f64,
    /// When the last update came; only the aggregator that stamps each says so.
    came: f64,
    /// What the rule took in all, in seconds; only of that aggregator, too.
    pub(super) folding: f64,
    /// When each trainer had the model and when it was done with it.
    trainers: Vec<(f64, f64)>,
}

impl Round {
    /// Of the rows that the aggregator recorded, in order.
    pub(super) fn all(rows: &[Value]) -> Vec<Self> {
        let mut rows: Vec<&Value> = rows.iter().collect();
        rows.sort_by_key(|row| row["round"].as_u64());
        rows.into_iter().map(|row| Self::read(&row["values"])).collect()
    }

    fn read(values: &Value) -> Self {
        let stamp = |name: &str| values[name].as_f64().unwrap_or(f64::NAN);
        let names = values.as_object().into_iter().flat_map(|values| values.keys());
        let trainers = names.filter_map(|name| name.strip_prefix("train-got-"));
        Self {
            begun: stamp("begun"),
            ended: stamp("ended"),
            came: stamp("came"),
            folding: stamp("folding"),
            trainers: trainers
                .map(|trainer| (stamp(&format!("train-got-{trainer}")), stamp(&format!("train-done-{trainer}"))))
                .collect(),
        }
    }

    pub(super) fn ended(&self) -> f64 {
        self.ended
    }

    /// How many trainers took part.
    pub(super) fn trainers(&self) -> usize {
        self.trainers.len()
    }

    /// From the aggregator's beginning of the round to the new model.
    pub(super) fn whole(&self) -> f64 {
        self.ended - self.begun
    }

    /// The same without what the slowest trainer trained for.
    pub(super) fn beyond_training(&self) -> f64 {
        self.whole() - latest(self.trainers.iter().map(|(got, done)| done - got))
    }

    /// Until the last trainer has the model.
    pub(super) fn distribute(&self) -> f64 {
        self.last_got() - self.begun
    }

    /// From then until the last trainer is done.
    pub(super) fn train(&self) -> f64 {
        self.last_done() - self.last_got()
    }

    /// From then until the aggregator has the last update.
    pub(super) fn give_back(&self) -> f64 {
        self.came - self.last_done()
    }

    /// From then until there is a new model.
    pub(super) fn aggregate(&self) -> f64 {
        self.ended - self.came
    }

    fn last_got(&self) -> f64 {
        latest(self.trainers.iter().map(|(got, _)| *got))
    }

    fn last_done(&self) -> f64 {
        latest(self.trainers.iter().map(|(_, done)| *done))
    }
}

fn latest(times: impl Iterator<Item = f64>) -> f64 {
    times.fold(f64::NAN, f64::max)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_parts_of_a_round_are_the_whole() {
        let values = json!({
            "begun": 10.0, "train-got-a": 12.0, "train-done-a": 13.0, "train-got-b": 11.0, "train-done-b": 15.0,
            "came": 18.0, "ended": 18.5, "folding": 1.0
        });
        let rounds = Round::all(&[json!({"round": 2, "values": {}}), json!({"round": 1, "values": values})]);
        let parts = [rounds[0].distribute(), rounds[0].train(), rounds[0].give_back(), rounds[0].aggregate()];
        assert_eq!(parts.map(|part| format!("{part}")), ["2", "3", "3", "0.5"]);
        assert!((parts.iter().sum::<f64>() - rounds[0].whole()).abs() < 1e-9);
        assert!((rounds[0].beyond_training() - 4.5).abs() < 1e-9);
        assert!(rounds[1].whole().is_nan());
    }
}
