//! Falls over when its trainer's `train` is called.

use attacks::callbacks;

callbacks! { panic_in: "train" }
