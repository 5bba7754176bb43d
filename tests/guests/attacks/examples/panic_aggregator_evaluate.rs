//! Falls over when its aggregator's `evaluate` is called.

use attacks::callbacks;

callbacks! { panic_in: "aggregator_evaluate" }
