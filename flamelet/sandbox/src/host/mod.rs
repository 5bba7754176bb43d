//! Host functions, one file for each interface of `flame:worker`, and the linker that names all that a guest can call.

mod aggregation;
mod channels;
mod datasets;
mod job;
mod telemetry;
mod tensors;

use wasmtime::Engine;
use wasmtime::component::{HasData, HasSelf, Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random};
use wasmtime_wasi::random::WasiRandom;

use crate::bindings::Worker;
use crate::bindings::flame::worker::types;
use crate::error::HostError;
use crate::state::HostState;

/// wasi:io works on the resource table alone.
struct HasIo;

impl HasData for HasIo {
    type Data<'a> = &'a mut ResourceTable;
}

/// The interfaces that a guest may import: ours, and of WASI what Rust's standard library needs. Sockets and http are not
/// refused at run time; they are not there.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    Worker::add_to_linker::<HostState, HasSelf<HostState>>(l, HostState::called)?;
    io::error::add_to_linker::<HostState, HasIo>(l, |state| &mut state.called().table)?;
    io::poll::add_to_linker::<HostState, HasIo>(l, |state| &mut state.called().table)?;
    io::streams::add_to_linker::<HostState, HasIo>(l, |state| &mut state.called().table)?;
    clocks::wall_clock::add_to_linker::<HostState, WasiClocks>(l, |state| state.called().clocks())?;
    clocks::monotonic_clock::add_to_linker::<HostState, WasiClocks>(l, |state| state.called().clocks())?;
    // The file system of a guest has no directory in it, so there is nothing to open.
    filesystem::preopens::add_to_linker::<HostState, WasiFilesystem>(l, |state| state.called().filesystem())?;
    filesystem::types::add_to_linker::<HostState, WasiFilesystem>(l, |state| state.called().filesystem())?;
    random::random::add_to_linker::<HostState, WasiRandom>(l, |state| state.called().wasi.random())?;
    random::insecure::add_to_linker::<HostState, WasiRandom>(l, |state| state.called().wasi.random())?;
    random::insecure_seed::add_to_linker::<HostState, WasiRandom>(l, |state| state.called().wasi.random())?;
    cli::exit::add_to_linker::<HostState, WasiCli>(l, |state| state.called().cli())?;
    cli::environment::add_to_linker::<HostState, WasiCli>(l, |state| state.called().cli())?;
    cli::stdin::add_to_linker::<HostState, WasiCli>(l, |state| state.called().cli())?;
    cli::stdout::add_to_linker::<HostState, WasiCli>(l, |state| state.called().cli())?;
    cli::stderr::add_to_linker::<HostState, WasiCli>(l, |state| state.called().cli())?;
    cli::terminal_input::add_to_linker::<HostState, WasiCli>(l, |state| state.called().cli())?;
    cli::terminal_output::add_to_linker::<HostState, WasiCli>(l, |state| state.called().cli())?;
    cli::terminal_stdin::add_to_linker::<HostState, WasiCli>(l, |state| state.called().cli())?;
    cli::terminal_stdout::add_to_linker::<HostState, WasiCli>(l, |state| state.called().cli())?;
    cli::terminal_stderr::add_to_linker::<HostState, WasiCli>(l, |state| state.called().cli())?;
    Ok(linker)
}

impl types::Host for HostState {
    fn convert_error(&mut self, error: HostError) -> wasmtime::Result<types::Error> {
        match error {
            HostError::Guest(error) => Ok(error),
            HostError::Trap(trap) => Err(trap),
        }
    }
}
