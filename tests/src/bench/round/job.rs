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
    let write = |name: &str, value: &Value| {
        std::fs::write(flame.example().join(name), value.to_string()).expect("the user's folder");
    };
    write("schema.json", &schema(aggregator));
    write("job.json", &spec(parameters, rounds));
    let job = flame.create_job(aggregator, &guest("plus-one"), |_| {});
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
    let ran = Round::all(&flame.rounds(&job));
    let complete = ran.iter().filter(|round| round.trainers() == PARTICIPANTS as usize).count();
    assert_eq!(complete as u64, rounds, "rounds in which all took part");
    let peaks = watch.end(ran.last().expect("a round").ended());
    let of_participants = peaks[2..].iter().copied();
    let participant =
        of_participants.reduce(|a, b| Peak { in_rounds: a.in_rounds.max(b.in_rounds), whole: a.whole.max(b.whole) });
    let peaks =
        Peaks { control: peaks[0], aggregator: peaks[1], participant: participant.expect("there are participants") };
    Ran { rounds: ran, peaks }
}

fn schema(aggregator: &str) -> Value {
    json!({
        "name": "rounds",
        "roles": [
            {"name": "trainer", "isDataConsumer": true},
            {"name": aggregator, "replica": 1}
        ],
        "channels": [{
            "name": "models",
            "pair": ["trainer", aggregator],
            "groupBy": {"type": "tag", "value": ["default"]},
            "funcTags": {"trainer": ["fetch", "upload"], aggregator: ["distribute", "aggregate"]}
        }]
    })
}

fn spec(parameters: u64, rounds: u64) -> Value {
    json!({
        "schemaVersion": "1",
        "codeVersion": "1",
        "dataSpec": {"fromUser": {"default": PARTICIPANTS}, "fromSystem": []},
        "backend": "mqtt",
        "maxRunTime": 1800,
        "seed": 1,
        "hyperparameters": {"rounds": rounds, "parameters": parameters},
        // Otherwise the others are stopped as soon as one has ended.
        "minCompleted": {"trainer": PARTICIPANTS}
    })
}
