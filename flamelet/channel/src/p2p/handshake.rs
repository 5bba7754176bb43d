//! Who is at the other side of a stream: both show that they have the pair's secret, and neither discloses it.
//!
//! Packets are sealed end to end, so a stranger on a stream could read and forge nothing. But it could take an end's
//! place and so keep the real one out, or let it look dead; that is what the proofs are for.

use aws_lc_rs::hmac;
use flame_model::EndId;
use sha2::{Digest as _, Sha256};

use crate::error::ChannelError;

/// What exactly the two ends of a pair know.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSecret([u8; 32]);

impl std::fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkSecret")
    }
}

impl LinkSecret {
    /// The secret of the pair `a` and `b` in `job`, from the keys of the channels that they share: both sides must give
    /// the same keys in the same order.
    pub fn derive<'k>(job: &str, a: &EndId, b: &EndId, keys: impl IntoIterator<Item = &'k [u8; 32]>) -> Self {
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        let mut hash = Sha256::new();
        hash.update(b"flame p2p link v1");
        // The ids are of one length; the job's is said.
        hash.update(u64::try_from(job.len()).unwrap_or(u64::MAX).to_le_bytes());
        for part in [job, low.as_str(), high.as_str()] {
            hash.update(part.as_bytes());
        }
        for key in keys {
            hash.update(key);
        }
        Self(hash.finalize().into())
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

/// One side's part of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) end: EndId,
    pub(super) incarnation: u32,
    pub(super) nonce: [u8; 32],
}

/// Whose proof it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Dialler,
    Listener,
}

/// Both parts.
#[derive(Debug)]
pub(super) struct Handshake<'a> {
    pub(super) job: &'a str,
    pub(super) dialler: &'a Party,
    pub(super) listener: &'a Party,
}

impl Handshake<'_> {
    /// What a proof of `side` is made over.
    fn said(&self, side: Side) -> Vec<u8> {
        let mut said = match side {
            Side::Dialler => b"dialler ".to_vec(),
            Side::Listener => b"listener".to_vec(),
        };
        said.extend_from_slice(&u64::try_from(self.job.len()).unwrap_or(u64::MAX).to_le_bytes());
        said.extend_from_slice(self.job.as_bytes());
        for party in [self.dialler, self.listener] {
            said.extend_from_slice(party.end.as_str().as_bytes());
            said.extend_from_slice(&party.incarnation.to_le_bytes());
            said.extend_from_slice(&party.nonce);
        }
        said
    }

    /// What `side` shows.
    pub(super) fn proof(&self, secret: &LinkSecret, side: Side) -> Vec<u8> {
        hmac::sign(&secret.key(), &self.said(side)).as_ref().to_vec()
    }

    /// Whether `proof` is what `side` has to show; in a time that does not tell where it differs.
    pub(super) fn holds(&self, secret: &LinkSecret, side: Side, proof: &[u8]) -> bool {
        hmac::verify(&secret.key(), &self.said(side), proof).is_ok()
    }
}

/// A nonce that was never used.
pub(super) fn nonce() -> Result<[u8; 32], ChannelError> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)
        .map_err(|error| ChannelError::Internal(format!("the system gives no random bytes: {error}")))?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(n: u8) -> Party {
        Party { end: EndId::new(&format!("{n:040x}")).unwrap(), incarnation: 1, nonce: [n; 32] }
    }

    #[test]
    fn a_proof_holds_for_its_side_handshake_and_secret_only() {
        let (a, b) = (party(1), party(2));
        let secret = LinkSecret::derive("job", &a.end, &b.end, [&[7; 32]]);
        assert!(secret == LinkSecret::derive("job", &b.end, &a.end, [&[7; 32]]), "both sides derive the same");
        let shake = Handshake { job: "job", dialler: &a, listener: &b };
        let proof = shake.proof(&secret, Side::Dialler);
        assert!(shake.holds(&secret, Side::Dialler, &proof));
        assert!(!shake.holds(&secret, Side::Listener, &proof), "a proof cannot be sent back");
        let later = Party { nonce: [9; 32], ..b.clone() };
        assert!(!Handshake { listener: &later, ..shake }.holds(&secret, Side::Dialler, &proof), "nor replayed");
        let other = LinkSecret::derive("job", &a.end, &b.end, [&[8; 32]]);
        assert!(!Handshake { job: "job", dialler: &a, listener: &b }.holds(&other, Side::Dialler, &proof));
        assert!(!format!("{secret:?}").contains('7'));
    }
}
