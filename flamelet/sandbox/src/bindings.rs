//! The host's side of `flame:worker`, generated from the WIT package.

wasmtime::component::bindgen!({
    path: "../../sdk-wasm/wit",
    world: "worker",
    imports: {
        "flame:worker/channels": async | trappable,
        "flame:worker/job.checkpoint-load": async | trappable,
        "flame:worker/job.publish-model": async | trappable,
        "flame:worker/job.record-metrics": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    trappable_error_type: { "flame:worker/types.error" => crate::error::HostError },
    with: {
        "flame:worker/tensors.tensor": crate::state::TensorHandle,
        "flame:worker/tensors.model": crate::state::ModelHandle,
        "flame:worker/channels.channel": crate::state::ChannelHandle,
        "flame:worker/channels.receipt": flame_channel::Receipt,
        "flame:worker/aggregation.aggregator": crate::state::AggregatorHandle,
        "flame:worker/datasets.dataset": crate::state::DatasetHandle,
    },
});
