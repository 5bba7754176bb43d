//! The participant's agent: control-plane session, task supervision, the flamelet binary
