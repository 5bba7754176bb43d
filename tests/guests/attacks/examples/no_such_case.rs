//! Gives the host a number that is no case of its enumeration.
#![allow(unsafe_code, reason = "the attack is on the ABI itself")]

use flame_sdk::{Context, Result};

#[link(wasm_import_module = "flame:worker/telemetry@0.1.0")]
unsafe extern "C" {
    #[link_name = "log"]
    fn log(level: u32, text: u32, len: u32);
}

fn run(_: &Context) -> Result<()> {
    // SAFETY: there is none; the host has to end this.
    unsafe { log(77, 0, 0) };
    Ok(())
}

flame_sdk::worker! { trainer => run }
