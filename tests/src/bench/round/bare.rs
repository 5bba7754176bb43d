//! The yardstick of a round: rumqttc alone. The end in the middle sends the bytes to all others, each sends as many back as
//! soon as it is asked to, and that is all: nobody computes, seals, puts together or keeps anything.

use std::collections::VecDeque;

use bytes::Bytes;

use super::super::bare::{ANSWER, Bare, LOST};
use super::super::peer::{Order, PeerArgs, Peers, end_with_parent, obey};
use super::{PARTICIPANTS, memory, since_1970};

/// First byte of the packet that says when an end, which it names, had everything.
const GOT: u8 = 2;
/// First byte of the packet that asks an end for its bytes.
const GO: u8 = 3;
/// Length of these two.
const SMALL: usize = 64;
/// Above so many bytes a turn has few rounds.
const LARGE: usize = 10_000_000;

/// What all turns gave, in seconds and MB.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) whole: Vec<f64>,
    pub(super) distribute: Vec<f64>,
    pub(super) give_back: Vec<f64>,
    pub(super) peak_in_the_middle: f64,
    pub(super) peak_of_others: f64,
}

impl Measured {
    /// Some more rounds of so many bytes, in processes that end with the turn: they would stand in the job's way.
    pub(super) fn turn(&mut self, broker: &str, bytes: usize) {
        let mut peers = Peers::start("bare-round", broker, PARTICIPANTS);
        let (warm_up, rounds) = if bytes > LARGE { (1, 2) } else { (3, 10) };
        for round in 0..warm_up + rounds {
            let figures = peers.order(Order::Broadcast(bytes));
            if let (true, [distribute, whole]) = (round >= warm_up, figures.as_slice()) {
                self.distribute.push(*distribute);
                self.give_back.push(whole - distribute);
                self.whole.push(*whole);
            }
        }
        self.peak_in_the_middle = self.peak_in_the_middle.max(memory::peak(peers.sender()));
        self.peak_of_others = peers.receivers().map(memory::peak).fold(self.peak_of_others, f64::max);
    }
}

/// The process of one end.
pub(crate) async fn run(args: PeerArgs) {
    let me = args.me;
    let mut bare = Bare::join(&args).await;
    if me == 0 {
        obey(async |order| match order {
            Order::Broadcast(bytes) => round(&mut bare, bytes).await.to_vec(),
            _ => Vec::new(),
        })
        .await;
    } else {
        end_with_parent();
        println!("ready");
        answer(&mut bare, u8::try_from(me).expect("a few ends")).await;
    }
}

/// Seconds until all others have it, and until all is back; infinite if the broker lost something.
async fn round(bare: &mut Bare, bytes: usize) -> [f64; 2] {
    let begun = since_1970();
    bare.send("out", bytes).await;
    let (mut waiting, mut coming, mut back) = (VecDeque::new(), 0, 0);
    let mut last_got: f64 = 0.0;
    while back < bare.others {
        let Ok(Some(payload)) = tokio::time::timeout(LOST, bare.arrivals.recv()).await else {
            eprintln!("the bare client waits in vain: the broker lost what it was given");
            return [f64::INFINITY; 2];
        };
        match payload.split_first() {
            Some((&GOT, rest)) if payload.len() == SMALL => {
                let (at, who) = rest.split_at(8);
                last_got = last_got.max(f64::from_le_bytes(at.try_into().expect("eight bytes")));
                waiting.push_back(who[0]);
            }
            Some((&ANSWER, _)) => {
                back += 1;
                coming -= 1;
            }
            _ => {}
        }
        while coming < at_a_time(bytes)
            && let Some(who) = waiting.pop_front()
        {
            coming += 1;
            bare.publish("out", small(GO, &[who])).await;
        }
    }
    [last_got, since_1970()].map(|at| at - begun)
}

/// Large ones take turns: all at once overrun the embedded broker, which then loses some of them.
fn at_a_time(bytes: usize) -> u32 {
    if bytes > LARGE { 1 } else { PARTICIPANTS }
}

/// Sends as many bytes back as came, when it is its turn.
async fn answer(bare: &mut Bare, me: u8) {
    let mut came = 0;
    while let Some(payload) = bare.arrivals.recv().await {
        match payload.split_first() {
            Some((&GO, rest)) if payload.len() == SMALL => {
                if rest[0] == me {
                    bare.send("back", std::mem::take(&mut came)).await;
                }
            }
            first => {
                came += payload.len();
                if let Some((&ANSWER, _)) = first {
                    bare.publish("back", small(GOT, &[&since_1970().to_le_bytes()[..], &[me]].concat())).await;
                }
            }
        }
    }
}

/// A packet that carries no part of a model.
fn small(first: u8, rest: &[u8]) -> Bytes {
    let mut bytes = [&[first], rest].concat();
    bytes.resize(SMALL, 0);
    bytes.into()
}
