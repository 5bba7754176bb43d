//! What the core costs for each packet, sealing and copying left out. `cargo test --release -p flame-channel --lib cost --
//! --ignored --nocapture` prints it; nothing is asserted about time.

use flame_model::wire::Encoding;
use flame_model::{Model, Tensor};

use super::*;
use crate::frame::{Ack, Addressee, ChunkHead, Content, Progress};
use crate::seal::{Life, SealedBody};

/// Time that this thread has had a processor: others want it, too.
fn busy() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// End 0 of a group in which all `count` others are here.
fn hub(count: usize) -> Core {
    let mut core = Core::new(&config(0, count + 1, &ChannelLimits::default()), 1, [0; 32], false).unwrap();
    core.on_link_up(Now::ZERO, 1 << 20);
    core.control.clear();
    for peer in &mut core.peers {
        peer.life = Some(Life { incarnation: 1, session: 1 });
        peer.present = true;
        peer.window = 4 << 20;
    }
    core
}

fn model(bytes: usize) -> Message {
    let mut model = Model::new();
    model.insert("w", Tensor::from_f32(&[bytes as u64 / 4], &vec![0.5; bytes / 4]).unwrap());
    Message { kind: "weights".into(), models: vec![("model".into(), model)], ..Message::default() }
}

/// Sends all that there is, each end acknowledging every fourth chunk, and each message as it is complete.
fn send_all(core: &mut Core) -> (u64, u64) {
    let (mut packets, mut acks) = (0, 0);
    let mut delivered = vec![0; core.peers.len()];
    let mut tail: Vec<Vec<(u64, u64, bool)>> = vec![Vec::new(); core.peers.len()];
    let now = Now::from_secs(1);
    loop {
        while let Some((id, at, ends)) = core.choose(now) {
            let (offset, len) = core.outbox[&id].span(at);
            let last = offset + len == core.outbox[&id].encoded.total_len;
            core.mark_sent(id, at, len, &ends);
            let _ = std::hint::black_box(core.next_wake(now));
            packets += 1;
            for end in ends {
                tail[end].push((id, offset + len, last));
            }
        }
        let mut any = false;
        for (end, tail) in tail.iter_mut().enumerate() {
            let Some(&(id, upto, last)) = tail.get(3).or(tail.last()) else { continue };
            tail.drain(..tail.len().min(4));
            any = true;
            let mut ack = Ack { session: 1, window: 4 << 20, ..Ack::default() };
            if last {
                delivered[end] = id;
            } else {
                ack.progress.push(Progress { id, upto, missing: Vec::new() });
            }
            ack.delivered = delivered[end];
            ack.taken = delivered[end];
            acks += 1;
            core.on_ack(now, end, acks, &ack);
        }
        if !any {
            return (packets, acks);
        }
    }
}

fn plain(message: &Message) -> Outbound {
    Outbound::new(message, Encoding::default(), false).unwrap()
}

fn report(what: &str, took: std::time::Duration, count: u64) {
    println!("{what}: {:?} each for {count}", took / u32::try_from(count).unwrap());
}

/// Ends and messages of a case are made anew so often: the clock is a coarse one.
const TIMES: usize = 100;

fn of_senders(what: &str, ends: usize, fill: impl Fn(&mut Core)) {
    let mut cores: Vec<Core> = (0..TIMES).map(|_| hub(ends)).collect();
    cores.iter_mut().for_each(fill);
    let (mut packets, mut acks) = (0, 0);
    let began = busy();
    for core in &mut cores {
        let (some, more) = send_all(core);
        packets += some;
        acks += more;
        assert!(core.outbox.is_empty());
    }
    let took = busy().saturating_sub(began);
    report(&format!("{what}, with {acks} acknowledgements"), took, packets + acks);
}

#[test]
#[ignore = "prints times"]
fn what_a_packet_costs_its_sender() {
    for (ends, bytes) in [(1, 1000 << 20), (4, 100 << 20), (10, 100 << 20), (200, 20 << 20)] {
        let all: Vec<usize> = (0..ends).collect();
        let model = model(bytes);
        of_senders(&format!("broadcast of {bytes} bytes to {ends} ends"), ends, |core| {
            core.queue(Now::ZERO, &all, &plain(&model), true).unwrap().unwrap();
        });
    }
    for (ends, messages) in [(1, 250), (10, 25), (200, 1)] {
        of_senders(&format!("{messages} small messages to each of {ends} ends"), ends, |core| {
            for n in 0..messages * ends {
                core.queue(Now::ZERO, &[n % ends], &plain(&message(n as u64, 100)), false).unwrap().unwrap();
            }
        });
    }
}

#[test]
#[ignore = "prints times"]
fn what_a_packet_costs_its_receiver() {
    for (senders, chunks) in [(1, 400), (10, 80), (200, 4)] {
        let mut cores: Vec<Core> = (0..TIMES).map(|_| hub(senders)).collect();
        let mut packets = 0;
        let body = SealedBody::of(&[7]);
        let began = busy();
        for core in &mut cores {
            let to = Addressee { tag: core.my_tag, session: 1, after: 0 };
            for offset in 0..chunks {
                for index in 0..senders {
                    // A byte each, so that neither copying nor taking memory counts.
                    let addressees = vec![to];
                    let head = ChunkHead { id: 1, total: chunks + 1, offset, content: Content::Bytes, addressees };
                    core.on_chunk(Now::from_secs(1), index, &head, &body, None);
                    std::hint::black_box(core.next_wake(Now::from_secs(1)));
                    packets += 1;
                }
            }
        }
        report(&format!("{chunks} chunks from each of {senders} senders"), busy().saturating_sub(began), packets);
    }
}
