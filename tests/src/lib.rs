//! Harness of the end-to-end tests: the real programs as child processes on free ports, in folders of their own.
//!
//! Nothing here waits by the clock: it waits for a line, a state or an exit, with a deadline.

pub mod bench;
mod broker;
mod flame;
mod guests;
mod process;

pub use broker::Mosquitto;
pub use flame::{Agent, Flame, FlameBuilder, Task};
pub use guests::{attack, guest, mnist, python};
pub use process::{Child, Finished, finish, process_output, program, program_folder};

/// Deadline of every wait in these tests: generous, because a debug build on a busy machine is slow.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_mins(3);

/// The checkout's root.
pub fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}
