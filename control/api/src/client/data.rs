//! Data sets, computes, agents.

use reqwest::Method;

use super::{Client, ClientError};
use crate::{Agent, AgentId, Compute, ComputeId, CreateDataset, Dataset, DatasetId, RegisterCompute, UpdateDataset};

impl Client {
    /// Makes data known that the platform can reach.
    pub async fn create_dataset(&self, dataset: &CreateDataset) -> Result<Dataset, ClientError> {
        self.json(self.request(Method::POST, "/v1/datasets").json(dataset)).await
    }

    /// All data sets, oldest first.
    pub async fn datasets(&self) -> Result<Vec<Dataset>, ClientError> {
        self.list("/v1/datasets").await
    }

    /// One data set.
    pub async fn dataset(&self, dataset: &DatasetId) -> Result<Dataset, ClientError> {
        self.get(&format!("/v1/datasets/{dataset}")).await
    }

    /// Changes what a data set says of itself.
    pub async fn update_dataset(&self, dataset: &DatasetId, update: &UpdateDataset) -> Result<Dataset, ClientError> {
        self.json(self.request(Method::PUT, &format!("/v1/datasets/{dataset}")).json(update)).await
    }

    /// Forgets a data set; the data stays where it is.
    pub async fn delete_dataset(&self, dataset: &DatasetId) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, &format!("/v1/datasets/{dataset}"))).await.map(drop)
    }

    /// Registers a place for system tasks. The same key registers again; another is refused.
    pub async fn register_compute(&self, compute: &RegisterCompute) -> Result<Compute, ClientError> {
        self.json(self.request(Method::POST, "/v1/computes").json(compute)).await
    }

    /// All computes, by id.
    pub async fn computes(&self) -> Result<Vec<Compute>, ClientError> {
        self.list("/v1/computes").await
    }

    /// One compute.
    pub async fn compute(&self, compute: &ComputeId) -> Result<Compute, ClientError> {
        self.get(&format!("/v1/computes/{compute}")).await
    }

    /// Forgets a compute.
    pub async fn delete_compute(&self, compute: &ComputeId) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, &format!("/v1/computes/{compute}"))).await.map(drop)
    }

    /// All agents, by id.
    pub async fn agents(&self) -> Result<Vec<Agent>, ClientError> {
        self.list("/v1/agents").await
    }

    /// One agent.
    pub async fn agent(&self, agent: &AgentId) -> Result<Agent, ClientError> {
        self.get(&format!("/v1/agents/{agent}")).await
    }

    /// What a dataset is now, for [`Client::with_tag`].
    pub async fn dataset_tag(&self, dataset: &DatasetId) -> Result<Option<String>, ClientError> {
        self.tag_of(&format!("/v1/datasets/{dataset}")).await
    }
}
