//! Falls over when its trainer's `load` is called.

use attacks::callbacks;

callbacks! { panic_in: "load" }
