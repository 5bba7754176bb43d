//! What the attacks share. Each file of `examples` is a component that tries one thing; `tests/tests/attacks` says what
//! has to come of it.

use std::time::Duration;

use flame_sdk::{Channel, Dataset, Form, Message, Model, Outgoing, Result};

/// Longer than any test.
pub const LONG: Duration = Duration::from_secs(3_600);

/// Says how an attempt went, as `what: ok` or `what: error`.
pub fn tried<T>(what: &str, result: Result<T>) {
    match result {
        Ok(_) => flame_sdk::info!("{what}: ok"),
        Err(error) => flame_sdk::info!("{what}: {error}"),
    }
}

/// A model of one tensor `w`.
pub fn constant(value: f32, len: u64) -> Result<Model> {
    let mut model = Model::new();
    model.set_f32("w", &[len], &vec![value; len as usize])?;
    Ok(model)
}

/// A trainer's turn: its channel, the base that it received, and the model that it made of it.
#[derive(Debug)]
pub struct Turn {
    /// The channel to the aggregator.
    pub channel: Channel,
    /// What came.
    pub base: Message,
    /// The base's model, ten larger everywhere.
    pub trained: Model,
}

impl Turn {
    /// Opens the data, joins and takes the first base.
    pub fn begin() -> Result<Self> {
        Dataset::open("data")?;
        Self::without_data()
    }

    /// As [`Turn::begin`], without the data.
    pub fn without_data() -> Result<Self> {
        let channel = Channel::join("param")?;
        let base = channel.recv_fifo(&[], LONG)?;
        let mut trained = base.model("model")?.duplicate()?;
        trained.axpy(1.0, &constant(10.0, trained.parameter_count())?)?;
        Ok(Self { channel, base, trained })
    }

    /// A message of this kind that names the base.
    pub fn message(&self, kind: &'static str) -> Outgoing<'static> {
        Outgoing::new(kind, self.base.round).samples(3).base(self.base.id)
    }

    /// Sends it to the aggregator.
    pub fn send(&self, message: &Outgoing<'_>) -> Result<()> {
        self.channel.send(std::slice::from_ref(&self.base.sender), message).map(drop)
    }

    /// Sends a model of this name and form.
    pub fn update(&self, form: Form, name: &str, model: &Model) -> Result<()> {
        self.send(&self.message("update").form(form).model(name, model))
    }

    /// Says that it is done and waits for the end.
    pub fn end(self) -> Result<()> {
        self.channel.send(&self.channel.ends()?, &Outgoing::new("done", 0))?;
        self.channel.recv_fifo(&[], LONG)?;
        self.channel.leave()
    }
}

/// A trainer and an aggregator of which one callback panics.
#[macro_export]
macro_rules! callbacks {
    (panic_in: $where:literal) => {
        use flame_sdk::{Aggregator, Context, Dataset, Metrics, Model, Result, Round, Trainer, Update};

        fn called(callback: &str) {
            assert!(callback != $where, "{callback} fell over on purpose");
        }

        struct Callbacks;

        impl Trainer for Callbacks {
            fn load(_: &Context) -> Result<Self> {
                called("load");
                Dataset::open("data")?;
                Ok(Self)
            }

            fn train(&mut self, _: &Round<'_>, model: &mut Model) -> Result<Update> {
                called("train");
                model.axpy(1.0, &$crate::constant(1.0, model.parameter_count())?)?;
                Ok(Update::new(5))
            }

            fn evaluate(&mut self, _: &Round<'_>, model: &Model) -> Result<Metrics> {
                called("evaluate");
                Ok([("norm", model.norm_l2())].into())
            }
        }

        struct Steers;

        impl Aggregator for Steers {
            fn load(_: &Context) -> Result<Self> {
                called("aggregator_load");
                Ok(Self)
            }

            fn initial_model(&mut self, _: &Context) -> Result<Model> {
                called("initial_model");
                $crate::constant(0.0, 10)
            }

            fn configure(&mut self, _: &Round<'_>) -> Result<Metrics> {
                called("configure");
                Ok(Metrics::new())
            }

            fn evaluate(&mut self, _: &Round<'_>, _: &Model) -> Result<Option<Metrics>> {
                called("aggregator_evaluate");
                Ok(None)
            }
        }

        flame_sdk::worker! { trainer: Callbacks, aggregator: Steers }
    };
}
