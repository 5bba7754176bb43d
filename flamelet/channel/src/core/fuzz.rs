//! Frames that a member of the group bent: they carry its seal, so nothing but reading them carefully protects this end.
//!
//! `FLAME_FUZZ_SECONDS` says how long (2 unless told), `FLAME_FUZZ_SEED` where to begin.

use std::time::{Duration, Instant};

use flame_model::wire::Encoding;
use flame_model::{Form, Message, Tensor};

use super::simulation::{config, id};
use super::{Core, Now, Outbound};
use crate::config::ChannelLimits;
use crate::frame::{Ack, Addressee, ChunkHead, Content, Frame, Progress};
use crate::seal::{Life, SealedBody};
use fuzzing::{Counting, Dice, mutate, peak, seed, until};

#[path = "../../../model/tests/common/fuzzing.rs"]
mod fuzzing;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Largest message, sent or unpacked.
const MESSAGE: u64 = 16 << 10;
/// What the inbox may hold beside one message that is waited for.
const QUEUED: u64 = 64 << 10;
/// Entries of an `Ack` take three words where a frame has two, and lists grow by doubling.
const PER_BYTE: usize = 8;

fn limits() -> ChannelLimits {
    ChannelLimits {
        max_message_bytes: MESSAGE,
        max_queued_bytes: QUEUED,
        max_inbox_bytes: QUEUED,
        max_queued_messages: 16,
        chunk_bytes: 512,
        window_bytes: 2048,
        ..ChannelLimits::default()
    }
}

/// An end with two others, both here: the first is the one that bends.
struct Victim {
    core: Core,
    now: Now,
    life: Life,
}

impl Victim {
    fn new() -> Self {
        let mut core = Core::new(&config(0, 3, &limits()), 1, [0; 32], false).unwrap();
        core.on_link_up(Now::ZERO, 4096);
        let life = Life { incarnation: 1, session: 1 };
        for index in 0..2 {
            assert!(core.admit(index, life, 1));
            core.prove(Now::ZERO, index);
        }
        Self { core, now: Now::ZERO, life }
    }

    /// As `on_packet` does once a packet is open.
    fn take_in(&mut self, frame: &[u8], body: &[u8]) -> bool {
        let Some(frame) = Frame::read(frame) else { return false };
        let now = self.now;
        match frame {
            Frame::Hello { commitment } => self.core.on_hello(now, 0, commitment),
            Frame::Here { session, reply, commitment } => self.core.on_here(now, 0, session, reply, commitment),
            Frame::Gone => self.core.on_gone(0),
            Frame::Chunk(head) => self.core.on_chunk(now, 0, &head, &SealedBody::of(body), None),
            // Each the newest: one that was overtaken changes nothing.
            Frame::Ack(ack) => {
                let counter = self.core.peers[0].newest_ack + 1;
                self.core.on_ack(now, 0, counter, &ack);
            }
        }
        true
    }

    /// What an end does besides: sends, takes, waits, lets time pass.
    fn live(&mut self, dice: &mut Dice) {
        self.now += Duration::from_millis(dice.roll() % 700);
        self.core.on_tick(self.now);
        for _ in 0..dice.below(40) {
            if self.core.poll_transmit(self.now).is_none() {
                break;
            }
        }
        let _ = self.core.next_wake(self.now);
        match dice.below(8) {
            0 => {
                let broadcast = dice.below(2) == 0;
                let message = Outbound::new(&message(dice), encoding(dice), false).unwrap();
                let _ = self.core.queue(self.now, &[0, 1], &message, broadcast);
            }
            1 | 2 => {
                if let Some((_, inbound)) = self.core.take(self.now, &[]) {
                    let lent = inbound.lent;
                    let _ = inbound.arrived.unpack();
                    if dice.below(4) > 0 {
                        self.core.give_back(self.now, lent);
                    }
                }
            }
            3 => {
                let wait = self.core.want(self.now, &[0]);
                if dice.below(2) == 0 {
                    self.core.unwant(wait);
                }
            }
            4 => drop(self.core.receipt(dice.roll())),
            5 => {
                // It comes back, in this life or the next.
                self.life.session += u64::from(dice.below(4) == 0);
                self.core.admit(0, self.life, dice.roll());
                self.core.prove(self.now, 0);
            }
            6 => drop(self.core.guest_waits(self.now)),
            _ => {}
        }
    }
}

fn encoding(dice: &mut Dice) -> Encoding {
    let tensors = flame_model::wire::TensorEncoding::ALL[dice.below(4)];
    Encoding { tensors, zstd: (dice.below(2) == 0).then_some(1) }
}

fn message(dice: &mut Dice) -> Message {
    let len = dice.below(3000);
    let tensor = Tensor::from_f32(&[len as u64], &vec![0.25; len]).unwrap();
    let models = vec![("m".to_owned(), [("w", tensor)].into_iter().collect())];
    Message { kind: "update".into(), round: 1, form: Form::Delta, models, ..Message::default() }
}

/// A frame and its body as an honest end would write them, or nearly.
fn frame(dice: &mut Dice, core: &Core) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut body) = (Vec::new(), Vec::new());
    let session = if dice.below(8) == 0 { dice.roll() } else { core.life.session };
    let near = |dice: &mut Dice| (1 << 32) + dice.below(12) as u64;
    match dice.below(10) {
        0 => Frame::Hello { commitment: [7; 32] }.write(&mut out),
        1 => Frame::Here { session, reply: dice.below(2) == 0, commitment: [7; 32] }.write(&mut out),
        2 if dice.below(8) == 0 => Frame::Gone.write(&mut out),
        2..=4 => {
            let words = |dice: &mut Dice| (dice.number(4096), dice.number(4096));
            let progress = |dice: &mut Dice| Progress {
                id: near(dice),
                upto: dice.number(4096),
                missing: (0..dice.below(5)).map(|_| words(dice)).collect(),
            };
            let ack = Ack {
                session,
                delivered: if dice.below(4) == 0 { dice.roll() } else { near(dice) },
                taken: if dice.below(4) == 0 { dice.roll() } else { near(dice) },
                window: dice.number(4096),
                resume: dice.below(2) == 0,
                refused: (0..dice.below(3)).map(|_| near(dice)).collect(),
                progress: (0..dice.below(4)).map(|_| progress(dice)).collect(),
            };
            Frame::Ack(ack).write(&mut out);
        }
        _ => {
            let id = near(dice);
            body = chunk(dice, core, session, id, &mut out);
        }
    }
    (out, body)
}

fn chunk(dice: &mut Dice, core: &Core, session: u64, id: u64, out: &mut Vec<u8>) -> Vec<u8> {
    let content = match dice.below(10) {
        0 => Content::Cancelled,
        1 => Content::Beside,
        _ => Content::Bytes,
    };
    let after = if dice.below(3) == 0 { dice.number(300) } else { 0 };
    let addressees = vec![Addressee { tag: core.my_tag, session, after }];
    // Often a whole message in one chunk, of which much is right.
    if content == Content::Bytes && dice.below(2) == 0 {
        let message = message(dice);
        let encoded = flame_model::wire::encode_as(&message, encoding(dice)).unwrap().to_buffer().unwrap();
        let total = encoded.len() as u64;
        ChunkHead { id, total, offset: 0, content, addressees }.write(out);
        return encoded.as_bytes().to_vec();
    }
    let total = if dice.below(4) == 0 { dice.number(16 << 10) } else { dice.below(4000) as u64 };
    let offset = dice.below(4000) as u64;
    ChunkHead { id, total, offset, content, addressees }.write(out);
    let len = if content == Content::Bytes { dice.below(300) } else { 0 };
    vec![9; len]
}

#[test]
fn bent_frames_are_frames_or_none_and_cost_no_more_than_their_bytes() {
    let mut dice = Dice(seed());
    let until = until();
    let victim = Victim::new();
    while Instant::now() < until {
        let (mut bytes, _) = frame(&mut dice, &victim.core);
        let (other, _) = frame(&mut dice, &victim.core);
        mutate(&mut dice, &mut bytes, &other);
        let (_, peak) = peak(|| Frame::read(&bytes).is_some());
        assert!(peak <= PER_BYTE * bytes.len() + 128, "{peak} bytes held for a frame of {bytes:?}");
    }
}

#[test]
fn a_member_that_bends_its_frames_breaks_nothing_and_fills_no_memory() {
    let mut dice = Dice(seed());
    let until = until();
    let (mut lives, mut frames) = (0_u64, 0_u64);
    while Instant::now() < until || lives == 0 {
        let start = dice.0;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut dice = Dice(start);
            let (read, peak) = peak(|| one_life(&mut dice));
            // Twice: what arrives, and what is queued to be sent. Beside them a message under way and what lists take.
            let bound = 2 * usize::try_from(QUEUED + 4 * MESSAGE).unwrap_or(0) + (256 << 10);
            assert!(peak <= bound, "{peak} bytes held, more than {bound}");
            read
        }));
        let Ok(read) = outcome else { std::panic!("FLAME_FUZZ_SEED={start} did it") };
        dice.roll();
        lives += 1;
        frames += read;
    }
    println!("{lives} lives, {frames} frames read");
}

#[test]
fn cancellations_that_wait_for_ever_do_not_pile_up() {
    let mut victim = Victim::new();
    let to = |core: &Core, after| vec![Addressee { tag: core.my_tag, session: core.life.session, after }];
    let ((), peak) = peak(|| {
        // One message that never becomes whole, and behind it cancelled ones without end, each waiting for the one before.
        for id in 1..200_000 {
            let content = if id == 1 { Content::Bytes } else { Content::Cancelled };
            let head = ChunkHead { id, total: 9, offset: 0, content, addressees: to(&victim.core, id - 1) };
            victim.core.on_chunk(victim.now, 0, &head, &SealedBody::of(&[]), None);
        }
    });
    assert!(peak < 1 << 20, "{peak} bytes held");
}

/// An end to which another sends a few thousand frames, most of them bent.
fn one_life(dice: &mut Dice) -> u64 {
    let mut victim = Victim::new();
    let mut read = 0;
    for _ in 0..3000 {
        let (mut head, mut body) = frame(dice, &victim.core);
        if dice.below(3) > 0 {
            let other = frame(dice, &victim.core);
            let (bent, other) = if dice.below(2) == 0 { (&mut head, other.0) } else { (&mut body, other.1) };
            mutate(dice, bent, &other);
        }
        read += u64::from(victim.take_in(&head, &body));
        victim.live(dice);
        let most = QUEUED + 2 * MESSAGE;
        assert!(victim.core.room.bytes <= most, "{} bytes promised", victim.core.room.bytes);
    }
    // Whatever was done to it, another end still gets through.
    let last = id(2);
    assert!(victim.core.index_of(&last).is_ok());
    read
}
