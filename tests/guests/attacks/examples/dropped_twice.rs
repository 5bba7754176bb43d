//! Drops a handle twice, past what the SDK lets anybody do.
#![allow(unsafe_code, reason = "the attack is on the ABI itself")]

use flame_sdk::{Context, Dtype, Result, Tensor};

#[link(wasm_import_module = "flame:worker/tensors@0.1.0")]
unsafe extern "C" {
    #[link_name = "[resource-drop]tensor"]
    fn drop_tensor(handle: u32);
}

fn run(_: &Context) -> Result<()> {
    let tensor = Tensor::zeros(&[1], Dtype::Float32)?;
    // The first handles of a component are small numbers.
    for handle in 1..10 {
        // SAFETY: there is none; the host has to end this.
        unsafe { drop_tensor(handle) };
    }
    drop(tensor);
    Ok(())
}

flame_sdk::worker! { trainer => run }
