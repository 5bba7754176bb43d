//! Who is here, who went, and who only claims to be.

use std::time::Duration;

use super::*;
use crate::ChannelKeys;

#[test]
fn silence_is_a_departure_and_speech_a_return() {
    let mut world = World::new(1, 2, &small());
    world.run(Duration::from_secs(1));
    assert_eq!(world.ends[0].ends(), [id(1)]);
    world.set_link(1, false);
    world.run(Duration::from_secs(9));
    assert_eq!(world.ends[0].ends(), [id(1)]);
    world.run(Duration::from_secs(2));
    assert!(world.ends[0].ends().is_empty() && world.ends[0].is_gone(0));
    world.set_link(1, true);
    world.run(Duration::from_secs(1));
    assert_eq!(world.ends[0].ends(), [id(1)]);
    let now = world.now;
    world.ends[1].say_goodbye(now);
    world.run(Duration::from_secs(1));
    assert!(world.ends[0].ends().is_empty());
}

#[test]
fn a_replayed_life_brings_nobody_back_and_a_lower_attempt_is_fenced() {
    let mut world = World::new(1, 2, &small());
    // Everything that end 1 ever said is recorded by the broker …
    let mut recorded = Vec::new();
    for _ in 0..50 {
        for end in [0, 1] {
            world.ends[end].on_tick(world.now);
            while let Some(packet) = world.ends[end].poll_transmit(world.now) {
                if end == 1 {
                    recorded.push(packet.clone());
                }
                world.publish(end, &packet);
            }
        }
        world.run(Duration::from_millis(100));
    }
    assert!(!recorded.is_empty());
    // … and played to a restarted end 0 after end 1 has died.
    world.set_link(1, false);
    world.air.clear();
    world.restart(0);
    for packet in recorded {
        let now = world.now;
        world.ends[0].on_packet(now, &packet.topic, &packet.payload, None);
    }
    assert!(world.ends[0].ends().is_empty());
    // A second copy of the old attempt of end 0 finds itself replaced.
    let old = ChannelConfig { incarnation: 1, ..world.configs[0].clone() };
    let mut old = Core::new(&old, 9, [0; 32], false).unwrap();
    old.on_link_up(world.now, 4096);
    world.ends[0].on_tick(world.now + Duration::from_secs(5));
    while let Some(packet) = world.ends[0].poll_transmit(world.now) {
        old.on_packet(world.now, &packet.topic, &packet.payload, None);
    }
    assert!(matches!(old.usable(), Err(crate::ChannelError::NotPermitted(_))));
}

#[test]
fn a_message_of_a_stranger_is_dropped() {
    let mut world = World::new(1, 2, &small());
    world.run(Duration::from_secs(1));
    let stranger = ChannelConfig {
        keys: ChannelKeys::of_secret(&[8; 32], &id(1), &world.configs[1].roster),
        incarnation: 5,
        ..world.configs[1].clone()
    };
    let mut stranger = Core::new(&stranger, 9, [0; 32], false).unwrap();
    stranger.on_link_up(world.now, 4096);
    while let Some(packet) = stranger.poll_transmit(world.now) {
        let now = world.now;
        world.ends[0].on_packet(now, &packet.topic, &packet.payload, None);
    }
    assert_eq!(world.ends[0].stats.dropped_forged, 1);
    world.queue(1, &[0], &message(1, 1), false).unwrap();
    world.run(Duration::from_secs(1));
    assert_eq!(world.take(0, 1), Some(1), "the real end is not fenced by the stranger's attempt number");
}

#[test]
fn who_takes_the_last_message_and_leaves_at_once_has_acknowledged_it() {
    let mut world = World::new(1, 2, &small());
    world.run(Duration::from_secs(1));
    let last = world.queue(0, &[1], &message(1, 10), false).unwrap();
    // Until the message is there and not yet acknowledged.
    while world.take(1, 0).is_none() {
        world.run(Duration::from_millis(1));
    }
    let now = world.now;
    world.ends[1].say_goodbye(now);
    let mut packets: Vec<_> = std::iter::from_fn(|| world.ends[1].poll_transmit(now)).collect();
    // The broker lets the goodbye pass.
    packets.reverse();
    for packet in packets {
        world.ends[0].on_packet(now, &packet.topic, &packet.payload, None);
    }
    assert!(world.ends[0].ends().is_empty());
    assert!(world.ends[0].receipt(last).pending.is_empty());
}

#[test]
fn ch_16_bytes_on_their_way_are_heartbeats_and_silence_is_death() {
    let limits = ChannelLimits {
        chunk_bytes: 1 << 10,
        window_bytes: 16 << 10,
        heartbeat: Duration::from_hours(1),
        ..ChannelLimits::default()
    };
    let mut world = World::new(1, 2, &limits);
    world.wires[1].up = 10;
    world.run(Duration::from_secs(1));
    // It takes 70 s, says nothing else meanwhile, and is dead after 10 s of silence.
    world.queue(1, &[0], &message(1, 700 << 10), false).unwrap();
    while world.take(0, 1).is_none() {
        world.run(Duration::from_millis(100));
        assert_eq!(world.ends[0].ends(), [id(1)]);
        assert!(world.now < Duration::from_mins(3));
    }
    // Both are silent from now on.
    world.run(Duration::from_secs(11));
    assert!(world.ends[0].ends().is_empty() && world.ends[0].is_gone(0));
}
