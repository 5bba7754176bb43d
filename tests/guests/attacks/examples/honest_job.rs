//! No attack: a trainer and an aggregator that do what they should, for the tests to run after the attacks.

use attacks::callbacks;

callbacks! { panic_in: "nothing" }
