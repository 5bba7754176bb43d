//! `cargo run --release -p flame-tests --bin bench -- --help`.

/// Chunks of 256 KiB come and go all the time: the system's allocator would map and unmap each, page fault by page fault.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    flame_tests::bench::main()
}
