//! Gives the host bytes that are no text, and a variant's case that there is not.
#![allow(unsafe_code, reason = "the attack is on the ABI itself")]

use flame_sdk::{Context, Result};

#[link(wasm_import_module = "flame:worker/telemetry@0.1.0")]
unsafe extern "C" {
    #[link_name = "log"]
    fn log(level: u32, text: u32, len: u32);
}

fn run(_: &Context) -> Result<()> {
    let bytes = [0xff_u8, 0xfe, 0x80];
    // SAFETY: there is none; the host has to end this.
    unsafe { log(2, bytes.as_ptr() as usize as u32, 3) };
    Ok(())
}

flame_sdk::worker! { trainer => run }
