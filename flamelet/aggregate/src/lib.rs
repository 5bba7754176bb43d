//! Federated aggregation rules over ndarray
