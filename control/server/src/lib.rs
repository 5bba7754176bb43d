//! Flame's control plane: apiserver, controller, notifier, store, deployers, embedded broker
