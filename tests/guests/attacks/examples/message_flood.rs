//! Sends more than anybody takes.

use attacks::LONG;
use flame_sdk::{Channel, Context, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let channel = Channel::join("param")?;
    let ends = channel.await_ends(1, LONG)?;
    let model = attacks::constant(1.0, 1 << 14)?;
    (0..).try_for_each(|round| channel.send(&ends, &Outgoing::new("flood", round).model("model", &model)).map(drop))
}

flame_sdk::worker! { trainer => run }
