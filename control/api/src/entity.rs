//! What users see of what the control plane keeps.

mod data;
mod design;
mod job;
mod page;

pub use data::{Agent, Compute, CreateDataset, Dataset, RegisterCompute, UpdateDataset};
pub use design::{
    CodeComponent, CodeRevision, CreateDesign, Created, Design, DesignDetail, SchemaRevision, UpdateDesign,
};
pub use job::{
    Job, JobCreated, JobEvent, JobEventKind, JobSnapshot, LogRecord, MetricRecord, ModelArtifact, Task, TaskCounts,
};
pub use page::Page;
