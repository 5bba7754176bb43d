//! How much one caller may ask for: requests per second by token and by address, and wrong tokens and keys.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

/// What comes at once may be this many seconds' worth.
const BURST_SECONDS: u32 = 2;
/// Callers that have been quiet are forgotten every so many requests.
const FORGET_EVERY: u64 = 10_000;
/// First pause after too many wrong tries; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Wrong tries are forgotten when none came for so long.
const FORGET_AFTER: Duration = Duration::from_mins(15);
/// Callers whose wrong tries are remembered at most.
const REMEMBERED: usize = 100_000;

/// Requests per second; 0 sets no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// With one token.
    pub token: u32,
    /// From one address (of IPv6, from one /64).
    pub address: u32,
}

impl Default for Rates {
    /// Well above what one caller of good will needs, and below what takes the server from the others.
    fn default() -> Self {
        Self { token: 2_000, address: 10_000 }
    }
}

/// The limits of the REST edge.
pub(crate) struct Limits {
    tokens: Option<DefaultKeyedRateLimiter<[u8; 32]>>,
    addresses: Option<DefaultKeyedRateLimiter<IpAddr>>,
    requests: AtomicU64,
    /// Wrong tokens by address.
    pub(crate) guesses: Guesses<IpAddr>,
}

impl Limits {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            tokens: quota(rates.token).map(DefaultKeyedRateLimiter::dashmap),
            addresses: quota(rates.address).map(DefaultKeyedRateLimiter::dashmap),
            requests: AtomicU64::new(0),
            guesses: Guesses::new(20),
        }
    }

    /// A request from an address. The error is the time to wait.
    pub(crate) fn address(&self, address: IpAddr) -> Result<(), Duration> {
        if self.requests.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.tokens.iter().for_each(DefaultKeyedRateLimiter::retain_recent);
            self.addresses.iter().for_each(DefaultKeyedRateLimiter::retain_recent);
        }
        self.addresses.as_ref().map_or(Ok(()), |limiter| ask(limiter, &network(address)))
    }

    /// A request with a token, named by its hash.
    pub(crate) fn token(&self, token: &[u8; 32]) -> Result<(), Duration> {
        self.tokens.as_ref().map_or(Ok(()), |limiter| ask(limiter, token))
    }
}

fn quota(rate: u32) -> Option<Quota> {
    let burst = NonZeroU32::new(rate.saturating_mul(BURST_SECONDS))?;
    Some(Quota::per_second(NonZeroU32::new(rate)?).allow_burst(burst))
}

fn ask<K: Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>, who: &K) -> Result<(), Duration> {
    limiter.check_key(who).map_err(|until| until.wait_time_from(DefaultClock::default().now()))
}

/// An IPv6 network is one caller: its addresses cost nothing.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Seconds for `Retry-After`: rounded up, so that who obeys is not refused again.
pub(crate) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Wrong tokens or keys, by who tried them. Some are free; then there is a pause after each, which doubles.
pub(crate) struct Guesses<K> {
    free: u32,
    tries: Mutex<HashMap<K, Tries>>,
}

#[derive(Clone, Copy)]
struct Tries {
    wrong: u32,
    last: Instant,
    /// When the next try is looked at.
    next: Instant,
}

impl<K: Hash + Eq> Guesses<K> {
    pub(crate) fn new(free: u32) -> Self {
        Self { free, tries: Mutex::default() }
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<K, Tries>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a try is looked at now. The error is the time to wait.
    pub(crate) fn may(&self, who: &K, now: Instant) -> Result<(), Duration> {
        match self.tries().get(who) {
            Some(tries) if tries.next > now => Err(tries.next - now),
            _ => Ok(()),
        }
    }

    /// It was wrong.
    pub(crate) fn wrong(&self, who: K, now: Instant) {
        let mut all = self.tries();
        if all.len() >= REMEMBERED {
            all.retain(|_, tries| now.duration_since(tries.last) < FORGET_AFTER);
        }
        if all.len() >= REMEMBERED && !all.contains_key(&who) {
            // So many at once are an attack from everywhere; the oldest half is let go.
            let mut times: Vec<Instant> = all.values().map(|tries| tries.last).collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            all.retain(|_, tries| tries.last > median);
        }
        let tries = all.entry(who).or_insert(Tries { wrong: 0, last: now, next: now });
        if now.duration_since(tries.last) >= FORGET_AFTER {
            tries.wrong = 0;
        }
        tries.wrong = tries.wrong.saturating_add(1);
        tries.last = now;
        let over = tries.wrong.saturating_sub(self.free);
        if over > 0 {
            tries.next = now + LONGEST_PAUSE.min(FIRST_PAUSE.saturating_mul(1 << (over - 1).min(16)));
        }
    }

    /// It was right: what was wrong before is forgotten.
    pub(crate) fn right(&self, who: &K) {
        self.tries().remove(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_tries_cost_ever_longer_pauses_and_a_right_one_ends_them() {
        let (guesses, begin) = (Guesses::new(2), Instant::now());
        for _ in 0..2 {
            guesses.wrong("me", begin);
            assert_eq!(guesses.may(&"me", begin), Ok(()), "some are free");
        }
        let mut now = begin;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            guesses.wrong("me", now);
            let pause = guesses.may(&"me", now).unwrap_err();
            pauses.push(pause.as_secs());
            now += pause;
            assert_eq!(guesses.may(&"me", now), Ok(()));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(guesses.may(&"you", begin), Ok(()), "others do not wait");
        guesses.right(&"me");
        assert_eq!(guesses.may(&"me", begin), Ok(()));
    }

    #[test]
    fn an_attack_from_everywhere_takes_bounded_memory() {
        let guesses = Guesses::new(0);
        let begin = Instant::now();
        for n in 0..(REMEMBERED as u64 * 2) {
            guesses.wrong(n, begin + Duration::from_micros(n));
        }
        assert!(guesses.tries().len() <= REMEMBERED);
    }

    #[test]
    fn a_rate_is_kept_per_caller_and_zero_is_none() {
        let limits = Limits::new(Rates { token: 1, address: 0 });
        let (me, you) = ([1; 32], [2; 32]);
        assert!(limits.token(&me).is_ok() && limits.token(&me).is_ok(), "a burst");
        let wait = limits.token(&me).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(limits.token(&you).is_ok());
        assert!((0..100_000).all(|_| limits.address(IpAddr::from([1, 2, 3, 4])).is_ok()));
    }

    #[test]
    fn an_ipv6_network_is_one_caller() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_eq!((seconds(Duration::from_millis(1)), seconds(Duration::from_secs(2))), (1, 2));
    }
}
