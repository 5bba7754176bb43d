//! Random texts, digests, and the proof that an agent is who it says.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use flame_api::{Problem, Secret};
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
