//! Carries data out as words: lines, prints, progress, the reason of its failure.

use flame_sdk::{Context, Error, Result, telemetry};

fn run(_: &Context) -> Result<()> {
    flame_sdk::info!("patient-43");
    flame_sdk::error!("patient-43");
    println!("patient-43");
    eprintln!("patient-43");
    telemetry::progress(777_000_777, 777_000_777);
    Err(Error::NotPermitted("patient-43".into()))
}

flame_sdk::worker! { trainer => run }
