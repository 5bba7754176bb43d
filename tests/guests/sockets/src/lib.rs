//! Opens a connection, and so imports wasi:sockets: it must be refused before it runs.

use flame_sdk::{Context, Error, Result};
use std::io::Write;
use std::net::TcpStream;

fn call_home(_: &Context) -> Result<()> {
    let mut stream = TcpStream::connect("127.0.0.1:9").map_err(|e| Error::worker(format!("connecting: {e}")))?;
    stream.write_all(b"everything I know").map_err(|e| Error::worker(format!("sending: {e}")))?;
    Ok(())
}

flame_sdk::worker! { trainer => call_home, aggregator: honest::Honest }
