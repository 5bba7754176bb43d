//! Reads, writes, lists and links files.

use std::fs;

use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    let mut got = 0;
    for path in ["/etc/passwd", "../../etc/passwd", "/proc/self/environ", ".", "/", "/dev/zero", "policy.toml"] {
        got += u32::from(fs::read(path).is_ok());
        got += u32::from(fs::read_dir(path).is_ok());
        got += u32::from(fs::metadata(path).is_ok());
        got += u32::from(fs::write(format!("{path}/flame-attack"), "x").is_ok());
        got += u32::from(fs::create_dir(format!("{path}/flame-attack")).is_ok());
        got += u32::from(fs::remove_file(format!("{path}/flame-attack")).is_ok());
    }
    flame_sdk::info!("files: {got}");
    Ok(())
}

flame_sdk::worker! { trainer => run }
