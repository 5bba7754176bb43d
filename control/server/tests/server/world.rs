//! A server on free ports with a deployer that hands its launches to the test.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flame_api::notifier::State;
use flame_api::{AgentId, Client, CreateDesign, DesignId, Job, JobId, JobState, Task, TaskKind};
use flame_control::store::{MemoryStore, Store};
use flame_control::{BrokerChoice, DeployError, Deployer, Launch, Rates, Server, ServerConfig, Tls};
use futures::StreamExt;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::agent::Agent;

/// The longest that any step of a test may take.
const STEP: Duration = Duration::from_secs(30);

/// Fails a test that hangs.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(STEP, future).await.expect("a step of the test took too long")
}

/// Hands launches to the test, or refuses them.
pub(crate) struct FakeDeployer {
    launches: mpsc::UnboundedSender<Launch>,
    revoked: watch::Sender<Vec<AgentId>>,
    refusal: Option<String>,
}

#[async_trait]
impl Deployer for FakeDeployer {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn check(&self) -> Result<(), DeployError> {
        self.refusal.as_ref().map_or(Ok(()), |reason| Err(DeployError::new(reason.clone())))
    }

    async fn deploy(&self, launch: Launch) -> Result<(), DeployError> {
        match &self.refusal {
            Some(reason) => Err(DeployError::new(reason.clone())),
            None => self.launches.send(launch).map_err(|_| DeployError::new("the test is over")),
        }
    }

    async fn revoke(&self, agent: &AgentId) -> Result<(), DeployError> {
        self.revoked.send_modify(|revoked| revoked.push(agent.clone()));
        Ok(())
    }

    async fn shutdown(&self) {}
}

/// A server and what a test needs around it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) client: Client,
    deployer: Arc<FakeDeployer>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) home: TempDir,
    launches: mpsc::UnboundedReceiver<Launch>,
    broker: TcpListener,
}

/// A job that was started, and its agents: connected, and told nothing yet.
pub(crate) struct Crew {
    pub(crate) job: JobId,
    pub(crate) system: Task,
    pub(crate) users: Vec<Task>,
    /// What the deployer was asked for.
    pub(crate) launch: Launch,
    pub(crate) aggregator: Agent,
    /// Their keys are `key 0`, `key 1` and so on.
    pub(crate) trainers: Vec<Agent>,
}

impl Crew {
    /// Everybody takes the grant and runs.
    pub(crate) async fn run(&mut self) {
        self.aggregator.run().await;
        for trainer in &mut self.trainers {
            trainer.run().await;
        }
    }

    /// Everybody says so, trainers first.
    pub(crate) async fn say(&mut self, state: State) {
        for agent in self.trainers.iter_mut().chain([&mut self.aggregator]) {
            let attempt = agent.attempt;
            assert!(!agent.say(attempt, state, "").await.fenced);
        }
    }
}

pub(crate) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with_rates(Rates::default()).await
    }

    pub(crate) async fn with_rates(rates: Rates) -> Self {
        Self::start_on(Arc::new(MemoryStore::default()), tempfile::tempdir().unwrap(), None, rates).await
    }

    pub(crate) async fn refusing_to_deploy(reason: &str) -> Self {
        let store = Arc::new(MemoryStore::default());
        Self::start_on(store, tempfile::tempdir().unwrap(), Some(reason.to_owned()), Rates::default()).await
    }

    async fn start_on(store: Arc<dyn Store>, home: TempDir, refusal: Option<String>, rates: Rates) -> Self {
        let (sender, launches) = mpsc::unbounded_channel();
        let deployer = Arc::new(FakeDeployer { launches: sender, revoked: watch::channel(Vec::new()).0, refusal });
        // Nothing in these tests speaks MQTT: somebody who answers is enough.
        let broker = TcpListener::bind(any_port()).unwrap();
        let config = ServerConfig {
            home: home.path().to_owned(),
            api: any_port(),
            notifier: any_port(),
            tls: Tls::Off,
            rates,
            broker: BrokerChoice::external(&format!("mqtt://{}", broker.local_addr().unwrap())).unwrap(),
            deployer: Arc::clone(&deployer) as Arc<dyn Deployer>,
            system_data: Vec::new(),
            advertise_host: None,
            skip_admission: true,
        };
        let server = within(Server::start_on(config, Arc::clone(&store))).await.unwrap();
        let client = Client::new(&format!("http://{}", server.api_addr()), Some(server.token().clone())).unwrap();
        Self { server, client, deployer, store, home, launches, broker }
    }

    /// Stops the server and starts another one on the same home and store.
    pub(crate) async fn restart(self) -> Self {
        let Self { server, store, home, broker, .. } = self;
        within(server.shutdown()).await;
        drop(broker);
        Self::start_on(store, home, None, Rates::default()).await
    }

    /// A design with schema and code, and a job for that many trainers.
    pub(crate) async fn job(&self, trainers: u32, options: &str) -> JobId {
        self.job_of(&self.client, trainers, options).await
    }

    /// The same for somebody.
    pub(crate) async fn job_of(&self, client: &Client, trainers: u32, options: &str) -> JobId {
        self.design_of(client).await;
        client.create_job("job.json", job_file(trainers, options)).await.unwrap().id
    }

    /// The design of [`World::job`], with schema and code, if it is not there yet.
    pub(crate) async fn design(&self) -> DesignId {
        self.design_of(&self.client).await
    }

    async fn design_of(&self, client: &Client) -> DesignId {
        let id: DesignId = "mnist".parse().unwrap();
        if client.design(&id).await.is_err() {
            client.create_design(&CreateDesign { id: id.clone(), description: String::new() }).await.unwrap();
            client.create_schema(&id, "schema.json", SCHEMA.to_owned()).await.unwrap();
            client.create_code(&id, component(&["trainer", "aggregator"])).await.unwrap();
        }
        id
    }

    pub(crate) async fn tasks(&self, job: &JobId) -> (Task, Vec<Task>) {
        let tasks = self.client.tasks(job).await.unwrap();
        let (mut system, user): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| task.kind == TaskKind::System);
        (system.remove(0), user)
    }

    /// Starts the job and connects its agents.
    pub(crate) async fn start_job(&mut self, job: JobId) -> Crew {
        let (system, users) = self.tasks(&job).await;
        self.client.start(&job).await.unwrap();
        let launch = self.launch().await;
        let aggregator = Agent::connect(self, &launch.agent, launch.key.expose()).await.unwrap();
        let mut trainers = Vec::new();
        for (index, user) in users.iter().enumerate() {
            trainers.push(Agent::connect(self, &user.agent, &format!("key {index}")).await.unwrap());
        }
        Crew { job, system, users, launch, aggregator, trainers }
    }

    /// A job for that many trainers, started, and its agents.
    pub(crate) async fn crew(&mut self, trainers: u32, options: &str) -> Crew {
        let job = self.job(trainers, options).await;
        self.start_job(job).await
    }

    pub(crate) async fn launch(&mut self) -> Launch {
        within(self.launches.recv()).await.unwrap()
    }

    pub(crate) async fn until_revoked(&self, agent: &AgentId) {
        let mut revoked = self.deployer.revoked.subscribe();
        within(revoked.wait_for(|revoked| revoked.contains(agent))).await.unwrap();
    }

    /// Waits until a participant's session is gone.
    pub(crate) async fn until_away(&self, job: &JobId, user: usize) {
        within(async {
            while self.tasks(job).await.1.get(user).unwrap().connected {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Follows the job until nothing more can happen to it.
    pub(crate) async fn until_settled(&self, job: &JobId) {
        let mut events = within(self.client.follow_events(job, u64::MAX)).await.unwrap();
        assert!(within(events.next()).await.is_none());
    }

    /// Follows the job until it is in the state.
    pub(crate) async fn until(&self, job: &JobId, state: JobState) -> Job {
        within(async {
            let mut snapshots = self.client.watch(job).await.unwrap();
            loop {
                let snapshot = snapshots.next().await.expect("the job ended in another state").unwrap();
                if snapshot.job.state == state {
                    return snapshot.job;
                }
            }
        })
        .await
    }
}

/// A job file for that many trainers; `options` continues its object.
pub(crate) fn job_file(trainers: u32, options: &str) -> String {
    let backend = if options.contains("\"backend\"") { "" } else { r#""backend": "mqtt","# };
    format!(
        r#"{{"designId": "mnist", "name": "digits", "seed": 7, {backend} "hyperparameters": {{"rounds": 3}},
             "dataSpec": {{"fromUser": {{"default": {trainers}}}}}{options}}}"#
    )
}

pub(crate) const SCHEMA: &str = r#"{
    "name": "simple", "description": "one aggregator",
    "roles": [{"name": "trainer", "description": "", "isDataConsumer": true}, {"name": "aggregator", "description": ""}],
    "channels": [{
        "name": "param-channel", "description": "", "pair": ["trainer", "aggregator"],
        "funcTags": {"trainer": ["fetch", "upload"], "aggregator": ["distribute", "aggregate"]}
    }]
}"#;

/// The smallest component that names its roles. Nothing here runs it.
pub(crate) fn component(roles: &[&str]) -> Bytes {
    let (name, lines) = ("flame:roles", roles.join("\n"));
    let mut section = vec![u8::try_from(name.len()).unwrap()];
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(lines.as_bytes());
    let mut bytes = b"\0asm\x0d\0\x01\0\0".to_vec();
    bytes.push(u8::try_from(section.len()).unwrap());
    bytes.extend(section);
    bytes.into()
}
