//! Keeps the receipt of every message.

use attacks::LONG;
use flame_sdk::{Channel, Context, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let channel = Channel::join("param")?;
    let ends = channel.await_ends(1, LONG)?;
    for round in 0.. {
        let receipt = channel.send(&ends, &Outgoing::new("note", round))?;
        receipt.wait(LONG)?;
        std::mem::forget(receipt);
    }
    Ok(())
}

flame_sdk::worker! { trainer => run }
