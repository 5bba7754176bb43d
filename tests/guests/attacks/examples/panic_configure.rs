//! Falls over when its aggregator's `configure` is called.

use attacks::callbacks;

callbacks! { panic_in: "configure" }
