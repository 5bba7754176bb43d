//! Talks to ends that are not of its group, or no ends at all.

use attacks::Turn;
use flame_sdk::{Context, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::without_data()?;
    for (what, end) in [
        ("stranger", "c".repeat(40)),
        ("no-end", "../../default/a".to_owned()),
        ("empty", String::new()),
        ("wildcard", "#".to_owned()),
        ("capital", turn.base.sender.to_uppercase()),
        ("nul", format!("{}\0", turn.base.sender)),
    ] {
        attacks::tried(what, turn.channel.send(std::slice::from_ref(&end), &Outgoing::new("note", 1)));
        attacks::tried(what, turn.channel.recv(&end, std::time::Duration::ZERO));
        attacks::tried(what, turn.channel.peek(&end));
    }
    turn.end()
}

flame_sdk::worker! { trainer => run }
