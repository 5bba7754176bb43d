//! Joins channels of other roles, groups and names.

use flame_sdk::{Channel, Context, Result};

fn run(_: &Context) -> Result<()> {
    for (what, name) in [
        ("unknown", "secret-channel"),
        ("path", "../default/param"),
        ("topic", "job/+/param/#"),
        ("empty", ""),
        ("nul", "param\0"),
        ("group", "param/other-group"),
        ("not-allowed", "other"),
    ] {
        attacks::tried(what, Channel::join(name));
    }
    attacks::tried("tag", Channel::by_tag("aggregate"));
    Ok(())
}

flame_sdk::worker! { trainer => run }
