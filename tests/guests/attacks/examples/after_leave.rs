//! Leaves, goes on talking, and never returns.

use attacks::LONG;
use flame_sdk::{Channel, Context, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let channel = Channel::join("param")?;
    let ends = channel.await_ends(1, LONG)?;
    channel.leave()?;
    attacks::tried("send", channel.send(&ends, &Outgoing::new("late", 1)));
    attacks::tried("broadcast", channel.broadcast(&Outgoing::new("late", 1)));
    attacks::tried("receive", channel.recv_fifo(&[], LONG));
    attacks::tried("leave", channel.leave());
    loop {
        std::thread::sleep(LONG);
    }
}

flame_sdk::worker! { trainer => run }
