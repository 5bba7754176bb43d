//! Random texts, digests, and the proof that an agent is who it says.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use aws_lc_rs::hmac;
use flame_api::{AgentId, Problem, RANDOM_KEY, Secret, SecretKey};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::failure::internal;
use crate::store::records::KeyHash;

/// `N` random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| internal(&format!("no randomness: {error}")))?;
    Ok(bytes)
}

/// A random 256-bit secret, 64 hex digits.
pub(crate) fn random_secret() -> Result<Secret, Problem> {
    Ok(Secret::new(hex::encode(random::<32>()?)))
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256, 64 hex digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

/// The key that all of a channel's group get, out of the group's secret, which nobody gets.
pub(crate) fn group_key(secret: &SecretKey) -> SecretKey {
    derive(secret, &[b"flame group"])
}

/// The key that two ends of a group share with nobody else.
pub(crate) fn pair_key(secret: &SecretKey, one: &AgentId, other: &AgentId) -> SecretKey {
    let (low, high) = if one <= other { (one, other) } else { (other, one) };
    derive(secret, &[b"flame pair", low.as_str().as_bytes(), high.as_str().as_bytes()])
}

/// HMAC-SHA256 over the parts, each behind its length.
fn derive(secret: &SecretKey, parts: &[&[u8]]) -> SecretKey {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose()));
    for part in parts {
        context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        context.update(part);
    }
    let mut key = [0; 32];
    for (to, from) in key.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    SecretKey::new(key)
}

/// Whether the texts are the same, in a time that does not tell where they differ.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// A key for an agent that the platform places: 256 random bits.
pub(crate) fn random_key() -> Result<Secret, Problem> {
    Ok(Secret::new(format!("{RANDOM_KEY}{}", random_secret()?.expose())))
}

/// Hash of a key that a person chose and sent as it is. Takes tens of milliseconds and 19 MiB (argon2id, m = 19 MiB, t = 2,
/// p = 1).
pub(crate) fn hash_chosen_key(key: &Secret) -> Result<KeyHash, Problem> {
    let hash = Argon2::default().hash_password(key.expose().as_bytes());
    hash.map(|hash| KeyHash::Argon2(hash.to_string())).map_err(|error| internal(&format!("argon2: {error}")))
}

/// Hash of what stands for a key that a person chose: argon2 has made it as hard to guess as it gets.
pub(crate) fn hash_proof(proof: &Secret) -> KeyHash {
    KeyHash::Stretched(sha256_hex(proof.expose().as_bytes()))
}

/// Hash of a random 256-bit key: no guessing it, so one fast hash is enough.
pub(crate) fn hash_random_key(key: &Secret) -> KeyHash {
    KeyHash::Sha256(sha256_hex(key.expose().as_bytes()))
}

/// Whether what was presented is the key of the hash, or its proof. A hash of an earlier version takes tens of
/// milliseconds.
pub(crate) fn verify_key(hash: &KeyHash, presented: &Presented) -> bool {
    match (hash, presented) {
        (KeyHash::Stretched(hash), Presented::Proof(proof)) => same(hash, &sha256_hex(proof.expose().as_bytes())),
        (KeyHash::Sha256(hash), Presented::Key(key)) => same(hash, &sha256_hex(key.expose().as_bytes())),
        (KeyHash::Argon2(hash), Presented::Key(key)) => argon2::password_hash::phc::PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(key.expose().as_bytes(), &hash).is_ok()),
        _ => false,
    }
}

/// What an agent shows of its key.
#[derive(Debug, Clone)]
pub(crate) enum Presented {
    /// The key itself.
    Key(Secret),
    /// What `flame_api::stretch` makes of it.
    Proof(Secret),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_get_the_same_key_and_no_third_has_it() {
        let secret = SecretKey::new([5; 32]);
        let [a, b, c] = ["aa", "bb", "cc"].map(|digits| digits.repeat(20).parse::<AgentId>().unwrap());
        assert_eq!(pair_key(&secret, &a, &b), pair_key(&secret, &b, &a));
        let all = [pair_key(&secret, &a, &b), pair_key(&secret, &a, &c), pair_key(&secret, &b, &c), group_key(&secret)];
        for (at, key) in all.iter().enumerate() {
            assert!(!all[..at].contains(key) && *key != secret);
        }
    }

    #[test]
    fn a_key_proves_itself_against_its_hash_alone() {
        let agent: AgentId = "1".repeat(40).parse().unwrap();
        let (mine, other) = (Secret::new("correct horse"), Secret::new("battery staple"));
        let proof = |key: &Secret| flame_api::stretch(&agent, key).unwrap();
        let hash = hash_proof(&proof(&mine));
        assert!(verify_key(&hash, &Presented::Proof(proof(&mine))));
        assert!(!verify_key(&hash, &Presented::Proof(proof(&other))));
        assert!(!verify_key(&hash, &Presented::Key(mine.clone())), "the proof is asked for, not the key");

        let random = random_key().unwrap();
        let hash = hash_random_key(&random);
        assert!(verify_key(&hash, &Presented::Key(random)));
        assert!(!verify_key(&hash, &Presented::Key(mine.clone())));

        let hash = hash_chosen_key(&mine).unwrap();
        assert!(!format!("{hash:?}").contains("correct"));
        assert!(verify_key(&hash, &Presented::Key(mine)));
        assert!(!verify_key(&hash, &Presented::Key(other.clone())));
        assert!(!verify_key(&KeyHash::Argon2("nonsense".into()), &Presented::Key(other)));
    }
}
