//! The binary as a user meets it, against a server with canned answers.
#![expect(clippy::unwrap_used, reason = "a test ends where its assumption does")]

mod aggregate;
mod mistakes;
mod signing;
mod support;
mod vectors;
mod walkthrough;
