//! Gives a model where a tensor belongs.
#![allow(unsafe_code, reason = "the attack is on the ABI itself")]

use flame_sdk::{Context, Result};

#[link(wasm_import_module = "flame:worker/tensors@0.1.0")]
unsafe extern "C" {
    #[link_name = "[constructor]model"]
    fn new_model() -> u32;
    #[link_name = "[method]tensor.dtype"]
    fn dtype(handle: u32) -> u32;
}

fn run(_: &Context) -> Result<()> {
    // SAFETY: there is none; the host has to end this.
    let confused = unsafe { dtype(new_model()) };
    flame_sdk::info!("confused: {confused}");
    Ok(())
}

flame_sdk::worker! { trainer => run }
