//! Sends and publishes NaN and infinity, in models and in metrics.

use attacks::Turn;
use flame_sdk::{Context, Form, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::begin()?;
    for (what, value) in [("nan", f64::NAN), ("infinity", f64::INFINITY), ("minus", f64::NEG_INFINITY)] {
        let mut broken = turn.trained.duplicate()?;
        broken.scale(value)?;
        attacks::tried(what, turn.update(Form::Full, "model", &broken));
        attacks::tried(what, turn.update(Form::Delta, "model", &broken));
        attacks::tried(what, Context::from_host().publish_model("result", &broken));
        attacks::tried("metric", Context::from_host().record_metrics(1, &[("loss", value)].into()));
    }
    turn.end()
}

flame_sdk::worker! { trainer => run }
