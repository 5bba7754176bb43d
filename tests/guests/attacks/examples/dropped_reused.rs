//! Uses a handle after it was dropped, and numbers that never were handles.
#![allow(unsafe_code, reason = "the attack is on the ABI itself")]

use flame_sdk::{Context, Result};

#[link(wasm_import_module = "flame:worker/tensors@0.1.0")]
unsafe extern "C" {
    #[link_name = "[constructor]model"]
    fn new_model() -> u32;
    #[link_name = "[resource-drop]model"]
    fn drop_model(handle: u32);
    #[link_name = "[method]model.norm-l2"]
    fn norm(handle: u32) -> f64;
}

fn run(_: &Context) -> Result<()> {
    // SAFETY: there is none; the host has to end this.
    unsafe {
        let model = new_model();
        flame_sdk::info!("alive: {}", norm(model));
        drop_model(model);
        flame_sdk::info!("dropped: {}", norm(model));
    }
    Ok(())
}

flame_sdk::worker! { trainer => run }
