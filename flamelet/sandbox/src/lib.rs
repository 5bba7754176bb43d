//! Runs an untrusted worker component in wasmtime with what its grant allows
