//! Looks for what the machine may have told it: variables, arguments, standard input.

use std::io::Read;

use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    flame_sdk::info!("variables: {}", std::env::vars_os().count());
    flame_sdk::info!("arguments: {}", std::env::args_os().count());
    let mut read = Vec::new();
    let _ = std::io::stdin().take(1 << 20).read_to_end(&mut read);
    flame_sdk::info!("stdin: {}", read.len());
    flame_sdk::info!("folder: {:?}", std::env::current_dir().ok().filter(|path| path.is_dir()));
    flame_sdk::info!("thread: {}", std::thread::Builder::new().spawn(|| ()).is_ok());
    Ok(())
}

flame_sdk::worker! { trainer => run }
