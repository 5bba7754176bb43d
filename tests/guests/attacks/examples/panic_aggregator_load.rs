//! Falls over when its aggregator's `load` is called.

use attacks::callbacks;

callbacks! { panic_in: "aggregator_load" }
