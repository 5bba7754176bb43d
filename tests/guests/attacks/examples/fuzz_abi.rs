//! Calls host functions by the bare ABI, with numbers made up: handles, pointers, lengths, cases.
#![allow(unsafe_code, reason = "the attack is on the ABI itself")]

use flame_sdk::{Context, Result};

#[link(wasm_import_module = "flame:worker/tensors@0.1.0")]
unsafe extern "C" {
    #[link_name = "[constructor]model"]
    fn new_model() -> u32;
    #[link_name = "[resource-drop]model"]
    fn drop_model(handle: u32);
    #[link_name = "[resource-drop]tensor"]
    fn drop_tensor(handle: u32);
    #[link_name = "[method]model.norm-l2"]
    fn norm(handle: u32) -> f64;
    #[link_name = "[method]model.names"]
    fn names(handle: u32, answer: u32);
    #[link_name = "[method]model.set"]
    fn set(handle: u32, name: u32, len: u32, tensor: u32, answer: u32);
    #[link_name = "[static]tensor.zeros"]
    fn zeros(shape: u32, dimensions: u32, dtype: u32, answer: u32);
    #[link_name = "[static]tensor.from-bytes"]
    fn from_bytes(shape: u32, dimensions: u32, dtype: u32, data: u32, len: u32, answer: u32);
}

#[link(wasm_import_module = "flame:worker/telemetry@0.1.0")]
unsafe extern "C" {
    #[link_name = "log"]
    fn log(level: u32, text: u32, len: u32);
}

fn run(ctx: &Context) -> Result<()> {
    let mut state: u64 = ctx.hyper("dice")?;
    let room = vec![0_u64; 4_096];
    let (at, bytes) = (room.as_ptr() as usize as u32, 8 * room.len() as u32);
    let mut roll = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    // A lie in some, the truth in most, so that a guest gets on before the host ends it.
    let lies = |truth: u32, roll: &mut dyn FnMut() -> u32| match roll() % 200 {
        0 => u32::MAX - roll() % 9,
        1 => roll().wrapping_mul(2),
        2 => truth.wrapping_add(roll() % 9),
        _ => truth,
    };
    let mut models = Vec::new();
    for _ in 0..1_000 {
        // What the host writes goes to the room's upper half, so that this guest goes on for a while.
        let answer = lies(at + bytes / 2, &mut roll);
        let place = lies(at + roll() % (bytes / 32) * 8, &mut roll);
        let other = lies(at + roll() % (bytes / 32) * 8, &mut roll);
        let len = lies(roll() % 100, &mut roll);
        let case = lies(roll() % 5, &mut roll);
        // SAFETY: there is none; the host has to end this, or answer.
        unsafe {
            if models.len() < 5 {
                models.push(new_model());
            }
            let model = lies(models[roll() as usize % models.len()], &mut roll);
            match roll() % 8 {
                0 => {
                    drop_model(model);
                    models.retain(|known| *known != model);
                }
                1 if roll() % 50 == 0 => drop_tensor(case),
                2 => drop(norm(model)),
                3 => names(model, answer),
                4 if roll() % 50 == 0 => set(model, place, len, case, answer),
                5 => zeros(place, len % 20, case, answer),
                6 => from_bytes(place, len % 5, case, other, len, answer),
                _ => log(case, place, len),
            }
        }
    }
    Ok(())
}

flame_sdk::worker! { trainer => run }
