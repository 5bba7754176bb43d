//! Points the host outside the memory.
#![allow(unsafe_code, reason = "the attack is on the ABI itself")]

use flame_sdk::{Context, Result};

#[link(wasm_import_module = "flame:worker/telemetry@0.1.0")]
unsafe extern "C" {
    #[link_name = "log"]
    fn log(level: u32, text: u32, len: u32);
}

fn run(_: &Context) -> Result<()> {
    // SAFETY: there is none; the host has to end this.
    unsafe { log(2, 0xffff_0000, 0xffff_0000) };
    Ok(())
}

flame_sdk::worker! { trainer => run }
