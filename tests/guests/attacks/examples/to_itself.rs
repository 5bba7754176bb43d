//! Talks to itself, to nobody, and to one end ten thousand times.

use attacks::Turn;
use flame_sdk::{Context, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::without_data()?;
    let me = turn.channel.me().id;
    let note = Outgoing::new("note", 1);
    attacks::tried("me", turn.channel.send(std::slice::from_ref(&me), &note));
    attacks::tried("from-me", turn.channel.peek(&me));
    attacks::tried("nobody", turn.channel.send(&[], &note));
    attacks::tried("twice", turn.channel.send(&vec![turn.base.sender.clone(); 10_000], &note));
    turn.end()
}

flame_sdk::worker! { trainer => run }
