//! Is told to stop, and goes on sending.

use attacks::LONG;
use flame_sdk::{Channel, Context, Error, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let channel = Channel::join("param")?;
    let ends = channel.await_ends(1, LONG)?;
    flame_sdk::info!("ready");
    while !matches!(channel.recv_fifo(&[], LONG), Err(Error::Stopped)) {}
    for _ in 0..3 {
        attacks::tried("late", channel.send(&ends, &Outgoing::new("late", 1)));
        attacks::tried("late-broadcast", channel.broadcast(&Outgoing::new("late", 1)));
    }
    loop {
        let _ = channel.broadcast(&Outgoing::new("late", 1));
    }
}

flame_sdk::worker! { trainer => run }
