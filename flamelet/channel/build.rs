//! Compiles the peer-to-peer carrier's protocol without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["carrier.proto"], ["proto"])?;
    // Payloads are slices of what was read, not copies.
    tonic_prost_build::configure().bytes(".flame.carrier.v1.Packet").compile_fds(descriptors)?;
    Ok(())
}
