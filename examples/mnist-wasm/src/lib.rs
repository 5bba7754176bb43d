//! MNIST by federated averaging: one component for the trainer and the aggregator
