//! An aggregator that does what it should: one tensor of four zeros, averaged for as many rounds as the job says.

use flame_sdk::{Aggregator, Context, Model, Result};

/// The honest aggregator.
pub struct Honest;

impl Aggregator for Honest {
    fn load(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn initial_model(&mut self, _: &Context) -> Result<Model> {
        let mut model = Model::new();
        model.set_f32("w", &[4], &[0.0; 4])?;
        Ok(model)
    }
}
