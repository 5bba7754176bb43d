//! Takes no notice of the end of the job.

use std::hint::black_box;

use attacks::LONG;
use flame_sdk::{Channel, Context, Result};

fn run(_: &Context) -> Result<()> {
    let channel = Channel::join("param")?;
    flame_sdk::info!("ready");
    loop {
        black_box(channel.recv_fifo(&[], LONG).is_ok());
    }
}

flame_sdk::worker! { trainer => run }
