//! Says that a list has four thousand million elements.
#![allow(unsafe_code, reason = "the attack is on the ABI itself")]

use flame_sdk::{Context, Result};

#[link(wasm_import_module = "flame:worker/tensors@0.1.0")]
unsafe extern "C" {
    #[link_name = "[static]tensor.zeros"]
    fn zeros(shape: u32, dimensions: u32, dtype: u32, answer: u32);
}

fn run(_: &Context) -> Result<()> {
    let room = vec![0_u64; 64];
    let at = room.as_ptr() as usize as u32;
    // SAFETY: there is none; the host has to end this.
    unsafe { zeros(at, u32::MAX, 0, at + 256) };
    Ok(())
}

flame_sdk::worker! { trainer => run }
