//! The binary as a user meets it, against a server with canned answers.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where its assumption does")]

mod aggregate;
mod conformance;
mod dry_run;
mod mistakes;
mod schemas;
mod signing;
mod support;
mod vectors;
mod verbs;
mod walkthrough;
