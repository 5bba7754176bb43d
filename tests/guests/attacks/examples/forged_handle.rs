//! Makes handles up.
#![allow(unsafe_code, reason = "the attack is on the ABI itself")]

use flame_sdk::{Context, Result};

#[link(wasm_import_module = "flame:worker/tensors@0.1.0")]
unsafe extern "C" {
    #[link_name = "[method]model.norm-l2"]
    fn norm(handle: u32) -> f64;
}

fn run(_: &Context) -> Result<()> {
    // SAFETY: there is none; the host has to end this.
    flame_sdk::info!("forged: {}", unsafe { norm(0xffff_fff0) });
    Ok(())
}

flame_sdk::worker! { trainer => run }
