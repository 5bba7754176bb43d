//! A job of the guest `plus-one`, with real programs.

use serde_json::{Value, json};

use super::PARTICIPANTS;
use super::memory::{Peak, Watch, Who};
use super::stamps::Round;
use crate::{Agent, Flame, guest};

/// What a job left.
pub(super) struct Ran {
    /// All rounds, the first one too.
    pub(super) rounds: Vec<Round>,
    pub(super) peaks: Peaks,
}

/// Peak memory of its processes.
pub(super) struct Peaks {
    pub(super) control: Peak,
    pub(super) aggregator: Peak,
    /// Of the participant that had the highest.
    pub(super) participant: Peak,
}

/// Runs it to its end. `aggregator` names the role of the guest that aggregates, and the design.
pub(super) fn run(flame: &Flame, aggregator: &str, parameters: u64, rounds: u64) -> Ran {
    let (job, watch) = complete(flame, ["trainer", aggregator], PARTICIPANTS, parameters, rounds);
    let ran = Round::all(&flame.rounds(&job));
    let complete = ran.iter().filter(|round| round.trainers() == PARTICIPANTS as usize).count();
    assert_eq!(complete as u64, rounds, "rounds in which all took part");
    let peaks = Peaks::of(watch, ran.last().expect("a round").ended());
    Ran { rounds: ran, peaks }
}

/// A job in which a model goes to a participant and one comes back, and nobody holds more than one.
pub(super) fn one_model(flame: &Flame, parameters: u64) -> Peaks {
    let (_, watch) = complete(flame, ["taker", "giver"], 1, parameters, 1);
    Peaks::of(watch, f64::INFINITY)
}

/// Runs a job of these roles, that of the participants first. Its id, and what was seen of its processes.
fn complete(flame: &Flame, roles: [&str; 2], participants: u32, parameters: u64, rounds: u64) -> (String, Watch) {
    let write = |name: &str, value: &Value| {
        std::fs::write(flame.example().join(name), value.to_string()).expect("the user's folder");
    };
    write("schema.json", &schema(roles));
    write("job.json", &spec(roles, participants, parameters, rounds));
    let job = flame.create_job(roles[1], &guest("plus-one"), |_| {});
    let ids = flame.participants(&job);
    let mut agents: Vec<Agent> = ids.iter().map(|id| flame.participant_without_data(id, "key", &[])).collect();
    let control = flame.control_id();
    let mut whom = vec![Who::Process(control), Who::ChildOf(control)];
    whom.extend(agents.iter().map(|agent| Who::Process(agent.0.id())));
    let watch = Watch::begin(whom);
    flame.does(&format!("flamectl start job {job}"));
    let state = flame.ends(&job);
    assert_eq!(state, "completed", "{:?}", flame.tasks(&job));
    for agent in &mut agents {
        assert!(agent.0.wait().success(), "{}", agent.0.output());
    }
    (job, watch)
}

impl Peaks {
    fn of(watch: Watch, rounds_ended: f64) -> Self {
        let peaks = watch.end(rounds_ended);
        let highest = |a: Peak, b: Peak| Peak { in_rounds: a.in_rounds.max(b.in_rounds), whole: a.whole.max(b.whole) };
        let participant = peaks[2..].iter().copied().reduce(highest).expect("there are participants");
        Self { control: peaks[0], aggregator: peaks[1], participant }
    }
}

fn schema([participant, aggregator]: [&str; 2]) -> Value {
    json!({
        "name": "rounds",
        "roles": [
            {"name": participant, "isDataConsumer": true},
            {"name": aggregator, "replica": 1}
        ],
        "channels": [{
            "name": "models",
            "pair": [participant, aggregator],
            "groupBy": {"type": "tag", "value": ["default"]},
            "funcTags": {participant: ["fetch", "upload"], aggregator: ["distribute", "aggregate"]}
        }]
    })
}

fn spec([participant, _]: [&str; 2], participants: u32, parameters: u64, rounds: u64) -> Value {
    json!({
        "schemaVersion": "1",
        "codeVersion": "1",
        "dataSpec": {"fromUser": {"default": participants}, "fromSystem": []},
        "backend": "mqtt",
        "maxRunTime": 1800,
        "seed": 1,
        "hyperparameters": {"rounds": rounds, "parameters": parameters},
        // Otherwise the others are stopped as soon as one has ended.
        "minCompleted": {participant: participants}
    })
}
