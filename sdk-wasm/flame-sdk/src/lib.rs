//! Write federated learning workers as WebAssembly components
