//! Asks for files by the names of data sets.

use flame_sdk::{Context, Dataset, Result};

fn run(_: &Context) -> Result<()> {
    let long = "../".repeat(100_000);
    for name in
        ["../../etc/passwd", "/etc/passwd", "data/../../secret", "data\0", "", "DATA", ".", "data ", long.as_str()]
    {
        attacks::tried("open", Dataset::open(name));
    }
    let data = Dataset::open("data")?;
    for array in ["../rows", "/etc/passwd", "rows\0", ""] {
        attacks::tried("array", data.rows(array, 0, 1));
    }
    flame_sdk::info!("names {:?}", Dataset::names());
    Ok(())
}

flame_sdk::worker! { trainer => run }
