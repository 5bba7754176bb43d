//! Falls over when its trainer's `evaluate` is called.

use attacks::callbacks;

callbacks! { panic_in: "evaluate" }
