//! Flame's channel semantics over MQTT and in-process transports
