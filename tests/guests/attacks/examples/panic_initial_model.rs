//! Falls over when its aggregator's `initial_model` is called.

use attacks::callbacks;

callbacks! { panic_in: "initial_model" }
