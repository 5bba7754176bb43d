//! Random texts, digests, and the proof that an agent is who it says.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use aws_lc_rs::hmac;
use flame_api::{AgentId, Problem, Secret, SecretKey};
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

/// Hash of a key that a person chose. Takes tens of milliseconds and 19 MiB (argon2id, m = 19 MiB, t = 2, p = 1).
pub(crate) fn hash_chosen_key(key: &Secret) -> Result<KeyHash, Problem> {
    let hash = Argon2::default().hash_password(key.expose().as_bytes());
    hash.map(|hash| KeyHash::Argon2(hash.to_string())).map_err(|error| internal(&format!("argon2: {error}")))
}

/// Hash of a random 256-bit key: no guessing it, so one fast hash is enough.
pub(crate) fn hash_random_key(key: &Secret) -> KeyHash {
    KeyHash::Sha256(sha256_hex(key.expose().as_bytes()))
}

/// Whether the key is the one of the hash.
pub(crate) fn verify_key(hash: &KeyHash, key: &Secret) -> bool {
    match hash {
        KeyHash::Argon2(hash) => argon2::password_hash::phc::PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(key.expose().as_bytes(), &hash).is_ok()),
        KeyHash::Sha256(hash) => same(hash, &sha256_hex(key.expose().as_bytes())),
    }
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
        let (mine, other) = (Secret::new("correct horse"), Secret::new("battery staple"));
        for hash in [hash_chosen_key(&mine).unwrap(), hash_random_key(&mine)] {
            assert!(verify_key(&hash, &mine));
            assert!(!verify_key(&hash, &other));
            assert!(!format!("{hash:?}").contains("correct"));
        }
        assert!(!verify_key(&KeyHash::Argon2("nonsense".into()), &mine));
    }
}
