//! Reads a file of its host, and gives the refusal back as its failure.

use flame_sdk::{Context, Error, Result};

fn pry(_: &Context) -> Result<()> {
    match std::fs::read("/etc/passwd") {
        Ok(content) => {
            flame_sdk::error!("read /etc/passwd: {} bytes", content.len());
            Ok(())
        }
        Err(error) => Err(Error::worker(format!("reading /etc/passwd: {error}"))),
    }
}

flame_sdk::worker! { trainer => pry, aggregator: honest::Honest }
