//! Roles that are nothing like federated averaging, on the real sandbox: the WIT package fits them.

mod cast;

use std::time::Duration;

use cast::{Link, Stage, completes, constant, first_value};
use flame_model::{Form, Message, safetensors};
use flame_sandbox::{Sandbox, SandboxConfig};
use flame_tests::{DEADLINE, guest};

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_reduces_without_an_aggregator() {
    let ring = guest("ring-member");
    let stage = Stage::new(&[("trainer", 3)], vec![Link("ring", ["trainer", "trainer"], ["ring_allreduce"; 2])]);
    let members: Vec<_> = stage.of_role("trainer").iter().map(|me| stage.run(&ring, me, &[("rounds", "2")])).collect();
    for (said, task) in members {
        completes(task).await;
        // The mean of 1, 2 and 3, and of three times that.
        assert_eq!(said.values("first"), [2.0, 2.0]);
        assert_eq!(said.values("last"), [2.0, 2.0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_pairs_trainers_with_middle_aggregators() {
    let component = guest("coordinator");
    let links = vec![
        Link("mid", ["coordinator", "middle-aggregator"], ["coordinateWithMidAgg", "coordinate"]),
        Link("train", ["coordinator", "trainer"], ["coordinateWithTrainer", "coordinate"]),
    ];
    let stage = Stage::new(&[("coordinator", 1), ("middle-aggregator", 2), ("trainer", 3)], links);
    let tasks: Vec<_> =
        stage.cast.iter().map(|me| (me.role.clone(), stage.run(&component, me, &[("rounds", "2")]))).collect();
    let mut partners_of_mids = 0.0;
    for (role, (said, task)) in tasks {
        completes(task).await;
        match role.as_str() {
            "coordinator" => assert_eq!((said.values("trainers"), said.values("mids")), (vec![3.0; 2], vec![2.0; 2])),
            "trainer" => assert_eq!(said.values("partners"), [1.0, 1.0]),
            _ => partners_of_mids += said.values("partners").iter().sum::<f64>(),
        }
    }
    // Three trainers in each of two rounds.
    assert!((partners_of_mids - 6.0).abs() < 1e-9, "{partners_of_mids}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffered_aggregator_folds_what_comes() {
    let stage = Stage::new(
        &[("aggregator", 1), ("trainer", 2)],
        vec![Link("param", ["aggregator", "trainer"], ["distribute", "fetch"])],
    );
    let aggregator = stage.of_role("aggregator").remove(0);
    let mut trainers = Vec::new();
    for me in stage.of_role("trainer") {
        let channel = stage.play(&me).await;
        let aggregator = aggregator.id.clone();
        trainers.push(tokio::spawn(async move {
            loop {
                let received = channel.recv(&aggregator, DEADLINE).await.unwrap();
                if received.message.kind == "end-of-training" {
                    return channel.leave().await.unwrap();
                }
                let base = flame_model::BaseRef {
                    sender: received.sender.clone(),
                    message: received.id,
                    round: received.message.round,
                };
                let update = Message {
                    kind: "update".into(),
                    round: received.message.round,
                    form: Form::Delta,
                    base: Some(base),
                    samples: 5,
                    models: vec![("model".into(), constant(1.0, 4))],
                    ..Message::default()
                };
                channel.send(&[received.sender], update).await.unwrap();
            }
        }));
    }
    let (said, task) = stage.run(&guest("fedbuff-aggregator"), &aggregator, &[("rounds", "3"), ("goal", "2")]);
    completes(task).await;
    for trainer in trainers {
        tokio::time::timeout(DEADLINE, trainer).await.unwrap().unwrap();
    }
    assert_eq!(said.values("folded"), [2.0; 3]);
    let file = said.models.lock().unwrap().get("model").cloned().unwrap();
    let (model, _) = safetensors::from_bytes(&file).unwrap();
    // Each version adds the mean of two deltas of one, a stale one by less.
    let value = first_value(&model);
    assert!((2.0..=3.0).contains(&value), "{value}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaffold_trainer_sends_weights_and_control() {
    let stage = Stage::new(
        &[("aggregator", 1), ("trainer", 1)],
        vec![Link("param", ["aggregator", "trainer"], ["distribute", "fetch"])],
    );
    let channel = stage.play(&stage.of_role("aggregator")[0]).await;
    let (_, task) = stage.run(&guest("scaffold-trainer"), &stage.of_role("trainer")[0], &[]);
    let ends = channel.await_ends(1, DEADLINE).await.unwrap();
    let weights = Message {
        kind: "weights".into(),
        round: 1,
        models: vec![("model".into(), constant(0.0, 3)), ("control".into(), constant(0.0, 3))],
        ..Message::default()
    };
    let sent = channel.send(&ends, weights).await.unwrap();
    let update = channel.recv(&ends[0], DEADLINE).await.unwrap().message;
    assert_eq!((update.form, update.samples), (Form::Delta, 1));
    assert_eq!(update.base.as_ref().map(|base| (base.message, base.round)), Some((sent.id(), 1)));
    // Two steps of rate 1/2 towards 1: 1/2, then 3/4. The control moves by −(3/4)/(2·1/2).
    assert!((first_value(update.model("model").unwrap()) - 0.75).abs() < 1e-6);
    assert!((first_value(update.model("control").unwrap()) + 0.75).abs() < 1e-6);
    let end = Message { kind: "end-of-training".into(), round: 1, ..Message::default() };
    channel.broadcast(end).await.unwrap().wait(Duration::from_secs(30)).await.unwrap();
    completes(task).await;
}

#[test]
fn the_agents_own_admission_refuses_sockets_by_name() {
    let sandbox = Sandbox::new(&SandboxConfig::default()).unwrap();
    let component = std::fs::read(guest("sockets")).unwrap();
    let refused = sandbox.prepare(&component, "trainer").unwrap_err().to_string();
    assert!(refused.contains("wasi:sockets/"), "{refused}");
}
