//! Processes that are killed at random moments, many times over: a job ends as if nothing had happened.
//!
//! Long, and so only run when asked for: `.ci/soak` does. `FLAME_SOAK_KILLS` says how many kills each test makes (default
//! 50), `FLAME_SOAK_SEED` at which moments (default 1): a failure names both.

use flame_tests::{Agent, Flame, FlameBuilder, mnist, root};

const ROUNDS: u64 = 20;
const PARTICIPANTS: usize = 2;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Steps of a sequence that looks random (splitmix64), so that a seed names every moment.
struct Moments(u64);

impl Moments {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

struct Run {
    job: String,
    participants: Vec<(String, Agent)>,
}

impl Run {
    /// A job under way, with its participants.
    fn start(flame: &Flame, n: u64) -> Self {
        let job = flame.create_job(&format!("soak{n}"), &mnist(), |job| {
            job["hyperparameters"]["rounds"] = ROUNDS.into();
            job["dataSpec"]["fromUser"]["default"] = PARTICIPANTS.into();
            // A lost participant is started again by whoever lost it, the platform's own flamelet by the platform.
            job["maxRestarts"] = 1.into();
        });
        let agents = flame.participants(&job);
        let participants = agents.into_iter().map(|agent| (agent.clone(), join(flame, &agent))).collect();
        flame.does(&format!("flamectl start job {job}"));
        Self { job, participants }
    }

    fn reaches(&self, flame: &Flame, round: u64) {
        flame.until("the round of the kill", |flame| flame.rounds(&self.job).len() as u64 >= round);
    }

    /// The job completes, each round is recorded once, each participant completes, and nobody is left behind.
    fn ends_well(mut self, flame: &Flame, what: &str) {
        let state = flame.ends(&self.job);
        let tasks = flame.tasks(&self.job);
        assert_eq!(state, "completed", "{what}: {tasks:?}");
        assert!(tasks.iter().all(|task| task.state == "completed"), "{what}: {tasks:?}");
        let mut rounds: Vec<(String, u64)> = flame
            .rounds(&self.job)
            .iter()
            .map(|row| {
                (row["agent"].as_str().unwrap_or_default().to_owned(), row["round"].as_u64().unwrap_or_default())
            })
            .collect();
        rounds.sort();
        let before = rounds.len();
        rounds.dedup();
        assert_eq!(rounds.len(), before, "{what}: a round was recorded twice");
        let of_all: std::collections::BTreeSet<u64> = rounds.iter().map(|(_, round)| *round).collect();
        assert_eq!(of_all.into_iter().collect::<Vec<_>>(), (1..=ROUNDS).collect::<Vec<_>>(), "{what}");
        for (agent, participant) in &mut self.participants {
            assert!(participant.0.wait().success(), "{what}: {agent}: {}", participant.0.output());
        }
        for task in &tasks {
            let left = flamelets(&task.agent);
            assert!(left.is_empty(), "{what}: {} still runs as {left:?}", task.agent);
        }
    }
}

fn join(flame: &Flame, agent: &str) -> Agent {
    flame.participant(agent, "key", &root().join("examples/mnist-wasm/data/train"))
}

/// Processes that serve an agent.
fn flamelets(agent: &str) -> Vec<u32> {
    let wanted = format!("FLAME_AGENT_ID={agent}");
    let all =
        std::fs::read_dir("/proc").expect("Linux").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        program.trim() == "flamelet" && environment.split(|byte| *byte == 0).any(|line| line == wanted.as_bytes())
    })
    .collect()
}

fn kill(pid: u32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill is installed");
    assert!(status.success());
}

#[test]
#[ignore = "long: .ci/soak runs it"]
fn a_killed_control_plane_goes_on_with_every_job_where_it_stood() {
    let (kills, seed) = (number("FLAME_SOAK_KILLS", 50), number("FLAME_SOAK_SEED", 1));
    let mut moments = Moments(seed);
    let mut flame = FlameBuilder::control().on_fixed_ports().start();
    for n in 0..kills {
        let run = Run::start(&flame, n);
        let round = moments.below(ROUNDS - 1);
        let what = format!("kill {n} of seed {seed}, in round {round}");
        run.reaches(&flame, round);
        flame.crash_and_restart();
        run.ends_well(&flame, &what);
    }
}

#[test]
#[ignore = "long: .ci/soak runs it"]
fn any_killed_flamelet_rejoins_its_job() {
    let (kills, seed) = (number("FLAME_SOAK_KILLS", 50), number("FLAME_SOAK_SEED", 1));
    let mut moments = Moments(seed);
    let flame = FlameBuilder::control().on_fixed_ports().start();
    for n in 0..kills {
        let mut run = Run::start(&flame, n);
        let round = 1 + moments.below(ROUNDS - 2);
        let tasks = flame.tasks(&run.job);
        let victim = usize::try_from(moments.below(tasks.len() as u64)).expect("few tasks");
        let victim = &tasks[victim];
        let what = format!("kill {n} of seed {seed}: a {} in round {round}", victim.role);
        run.reaches(&flame, round);
        match run.participants.iter_mut().find(|(agent, _)| *agent == victim.agent) {
            Some((agent, participant)) => {
                participant.0.kill();
                *participant = join(&flame, agent);
            }
            // The platform's own: whoever placed it places it again.
            None => flamelets(&victim.agent).into_iter().for_each(kill),
        }
        run.ends_well(&flame, &what);
    }
}
