//! Flame's tensors, models, safetensors files and the wire encoding of a message
