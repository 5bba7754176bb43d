//! How an agent proves its key.
//!
//! A key that a person chose is stretched by argon2id where it is known, on the participant's machine, and the result
//! stands for it from there on: the control plane keeps a SHA-256 of that. Whoever steals the hash pays argon2 for every
//! guess, as if the server had stretched it, while ten thousand participants who come back at once cost the server
//! nothing. A key that the platform made is random, and nothing is gained by stretching it.

use argon2::{Algorithm, Argon2, Params, Version};

use crate::{AgentId, Secret};

/// Begins every key that the platform makes: 256 random bits in hex follow.
pub const RANDOM_KEY: &str = "flame-random-";
/// Memory of argon2id, in KiB.
const MEMORY: u32 = 19 * 1024;
/// Passes of argon2id.
const PASSES: u32 = 2;

/// Argon2 could not be had: out of memory, or a key that is too long for it.
#[derive(Debug, thiserror::Error)]
#[error("the key cannot be stretched: {0}")]
pub struct KeyError(String);

/// What is presented for a key that a person chose: argon2id (19 MiB, 2 passes, 1 lane) over it with the salt
/// `flame agent ` and the agent's id; 64 hex digits. Takes some tens of milliseconds.
pub fn stretch(agent: &AgentId, key: &Secret) -> Result<Secret, KeyError> {
    let failed = |error: argon2::Error| KeyError(error.to_string());
    let params = Params::new(MEMORY, PASSES, 1, Some(32)).map_err(failed)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut proof = [0; 32];
    let salt = format!("flame agent {agent}");
    argon2.hash_password_into(key.expose().as_bytes(), salt.as_bytes(), &mut proof).map_err(failed)?;
    Ok(Secret::new(hex::encode(proof)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_key_and_one_agent() {
        let agent = |digit: &str| digit.repeat(40).parse::<AgentId>().unwrap();
        let proof = |digit, key| stretch(&agent(digit), &Secret::new(key)).unwrap().expose().to_owned();
        let mine = proof("1", "key");
        assert_eq!(mine.len(), 64);
        assert_eq!(mine, proof("1", "key"));
        assert!(mine != proof("2", "key") && mine != proof("1", "yek"));
    }
}
