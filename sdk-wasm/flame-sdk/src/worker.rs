//! From a user's types to an exported component: the traits that a role implements, the dispatch, the macro, the panic hook.

use std::marker::PhantomData;
use std::panic::PanicHookInfo;

use crate::channel::Form;
use crate::context::{Context, Round};
use crate::error::Result;
use crate::fedavg;
use crate::metrics::Metrics;
use crate::selector::Selector;
use crate::telemetry::{self, Level};
use crate::tensor::Model;

/// A role that trains on a participant's data; [`crate::worker!`] runs it in the trainer's side of the federated round loop.
pub trait Trainer: Sized {
    /// Opens the data and reads the hyperparameters, once.
    fn load(ctx: &Context) -> Result<Self>;

    /// Trains `model`, which comes in as the round's global model, in place.
    fn train(&mut self, ctx: &Round<'_>, model: &mut Model) -> Result<Update>;

    /// Measures a global model on this participant's data ("loss", "accuracy"). Asked for only where the aggregator has no data to
    /// evaluate on. By default nothing is measured.
    fn evaluate(&mut self, ctx: &Round<'_>, model: &Model) -> Result<Metrics> {
        let _ = (ctx, model);
        Ok(Metrics::new())
    }
}

/// What a trainer says of its round.
#[derive(Debug)]
pub struct Update {
    /// Samples trained on; the aggregation weight. 0 abstains.
    pub samples: u64,
    /// What training measured ("loss", "accuracy", "steps").
    pub metrics: Metrics,
    /// [`Form::Full`] sends the trained model, [`Form::Delta`] its difference from the received one.
    pub form: Form,
    /// Second models that the rule asks for, such as SCAFFOLD's `control`.
    pub extras: Vec<(String, Model)>,
}

impl Update {
    /// A full model trained on `samples` samples.
    pub fn new(samples: u64) -> Self {
        Self { samples, metrics: Metrics::new(), form: Form::Full, extras: Vec::new() }
    }

    /// The same with a measurement.
    #[must_use]
    pub fn metric(mut self, name: &str, value: f64) -> Self {
        self.metrics.set(name, value);
        self
    }

    /// The same with a second model that the rule asks for, such as SCAFFOLD's `control`.
    #[must_use]
    pub fn extra(mut self, name: &str, model: Model) -> Self {
        self.extras.push((name.to_owned(), model));
        self
    }

    /// The same, sent as the difference from the received model.
    #[must_use]
    pub fn as_delta(mut self) -> Self {
        self.form = Form::Delta;
        self
    }
}

/// A role that makes and steers the global model; [`crate::worker!`] runs it in the aggregator's side of the federated round loop.
/// The aggregation itself runs in the host, by the rule that the job names.
pub trait Aggregator: Sized {
    /// Opens evaluation data and reads hyperparameters, once.
    fn load(ctx: &Context) -> Result<Self>;

    /// The model before the first round, where the job names no base model.
    fn initial_model(&mut self, ctx: &Context) -> Result<Model>;

    /// Who is asked in a round. `None`, the default, leaves it to the job, which asks everybody unless it names a selector.
    fn selector(&mut self, ctx: &Context) -> Result<Option<Box<dyn Selector>>> {
        let _ = ctx;
        Ok(None)
    }

    /// Numbers for the trainers in this round, which [`Round::number_or`] finds before the job's hyperparameters: a learning rate
    /// that decays, say. By default none.
    fn configure(&mut self, ctx: &Round<'_>) -> Result<Metrics> {
        let _ = ctx;
        Ok(Metrics::new())
    }

    /// Measures a global model ("loss", "accuracy") on data of the aggregator's own. `None`, the default, leaves it to the trainers.
    fn evaluate(&mut self, ctx: &Round<'_>, model: &Model) -> Result<Option<Metrics>> {
        let _ = (ctx, model);
        Ok(None)
    }
}

/// A role that drives its channels itself.
pub trait Role {
    /// Runs the role to its end.
    fn run(ctx: &Context) -> Result<()>;
}

/// Picks the loop for a type by the trait that it implements: the compiler tries fewer references last.
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

#[doc(hidden)]
impl<T> Probe<T> {
    pub const NEW: Self = Self(PhantomData);
}

#[doc(hidden)]
pub trait RunTrainer {
    fn run(&self, ctx: &Context) -> Result<()>;
}

impl<T: Trainer> RunTrainer for &&Probe<T> {
    fn run(&self, ctx: &Context) -> Result<()> {
        fedavg::run_trainer::<T>(ctx)
    }
}

#[doc(hidden)]
pub trait RunAggregator {
    fn run(&self, ctx: &Context) -> Result<()>;
}

impl<T: Aggregator> RunAggregator for &Probe<T> {
    fn run(&self, ctx: &Context) -> Result<()> {
        fedavg::run_aggregator::<T>(ctx)
    }
}

#[doc(hidden)]
pub trait RunRole {
    fn run(&self, ctx: &Context) -> Result<()>;
}

impl<T: Role> RunRole for Probe<T> {
    fn run(&self, ctx: &Context) -> Result<()> {
        T::run(ctx)
    }
}

/// Reports a panic before it becomes a bare trap.
#[doc(hidden)]
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| telemetry::log(Level::Error, &describe(info))));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    match info.location() {
        Some(place) => format!("panicked at {}:{}:{}: {message}", place.file(), place.line(), place.column()),
        None => format!("panicked: {message}"),
    }
}

/// Makes a component of roles. A role is a type that implements [`Trainer`], [`Aggregator`] or [`Role`], or (after `=>`) a function of
/// [`Context`]; its name is the schema's, as an identifier or a string.
///
/// ```no_run
/// # use flame_sdk::{Aggregator, Context, Model, Result, Round, Trainer, Update};
/// # struct MyTrainer; struct MyAggregator;
/// # impl Trainer for MyTrainer {
/// #     fn load(_: &Context) -> Result<Self> { Ok(Self) }
/// #     fn train(&mut self, _: &Round<'_>, _: &mut Model) -> Result<Update> { Ok(Update::new(1)) }
/// # }
/// # impl Aggregator for MyAggregator {
/// #     fn load(_: &Context) -> Result<Self> { Ok(Self) }
/// #     fn initial_model(&mut self, _: &Context) -> Result<Model> { Ok(Model::new()) }
/// # }
/// # fn observe(_: &Context) -> Result<()> { Ok(()) }
/// flame_sdk::worker! {
///     trainer: MyTrainer,
///     "top-aggregator": MyAggregator,
///     observer => observe,
/// }
/// # fn main() {}
/// ```
///
/// The role names go into the component's custom section `flame:roles`, where they can be read without running anything.
#[macro_export]
macro_rules! worker {
    // All entries read: ($name, how to run it) …
    (@emit ($first:tt $run_first:expr) $(($name:tt $run:expr))*) => {
        const _: () = {
            struct Worker;

            impl $crate::__private::bindings::Guest for Worker {
                fn run() -> ::core::result::Result<(), $crate::__private::bindings::Failure> {
                    $crate::__private::install_panic_hook();
                    let ctx = $crate::Context::from_host();
                    let run: fn(&$crate::Context) -> $crate::Result<()> = match ctx.role() {
                        $crate::worker!(@name $first) => $run_first,
                        $($crate::worker!(@name $name) => $run,)*
                        other => {
                            let known = [$crate::worker!(@name $first) $(, $crate::worker!(@name $name))*];
                            return ::core::result::Result::Err(
                                $crate::Error::NotFound(::std::format!("role \"{other}\" in this component, which has {known:?}")).into(),
                            );
                        }
                    };
                    run(&ctx).map_err(::core::convert::Into::into)
                }
            }

            // A native build, for unit tests, has nobody to export to.
            #[cfg(target_family = "wasm")]
            #[allow(unsafe_code, missing_docs, reason = "exports and sections need unsafe attributes; the SDK answers for them")]
            const _: () = {
                $crate::__private::bindings::__export_worker!(Worker with_types_in $crate::__private::bindings);

                const NAMES: &str = ::core::concat!($crate::worker!(@name $first) $(, "\n", $crate::worker!(@name $name))*);

                #[unsafe(link_section = "flame:roles")]
                #[used]
                static ROLES: [u8; NAMES.len()] = {
                    // The section holds the names themselves, not a pointer to them.
                    let mut bytes = [0; NAMES.len()];
                    let mut at = 0;
                    while at < bytes.len() {
                        bytes[at] = NAMES.as_bytes()[at];
                        at += 1;
                    }
                    bytes
                };
            };
        };
    };
    (@name $name:ident) => { ::core::stringify!($name) };
    (@name $name:literal) => { $name };
    (@read [$($done:tt)*]) => { $crate::worker!(@emit $($done)*); };
    (@read [$($done:tt)*] $name:tt : $role:ty $(, $($rest:tt)*)?) => {
        $crate::worker!(@read [$($done)* ($name |ctx| {
            #[allow(unused_imports, reason = "one of them is used, by the trait that the role implements")]
            use $crate::__private::{RunAggregator as _, RunRole as _, RunTrainer as _};
            (&&&$crate::__private::Probe::<$role>::NEW).run(ctx)
        })] $($($rest)*)?);
    };
    (@read [$($done:tt)*] $name:tt => $run:expr $(, $($rest:tt)*)?) => {
        $crate::worker!(@read [$($done)* ($name $run)] $($($rest)*)?);
    };
    ($($roles:tt)+) => { $crate::worker!(@read [] $($roles)+); };
}
