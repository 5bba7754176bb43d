//! The ciphers under the seal: AEGIS-256X2, which hides and authenticates, and its MAC, which only authenticates
//! (RFC 10032). Decision 0014 says why.

use aegis::aegis256x2::{Aegis256X2, Aegis256X2Mac};

use crate::keys::Key;

/// Bytes of an authentication tag.
pub(crate) const TAG: usize = 16;

pub(crate) type Tag = [u8; TAG];

/// What a packet's counter is used for; the uses differ by this.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Head,
    Body,
    Proof,
}

/// Unique under a key: a key belongs to one sender and life, and the counter grows with every packet of it.
#[derive(Clone, Copy)]
pub(crate) struct Nonce([u8; 32]);

impl Nonce {
    pub(crate) fn new(counter: u64, part: Part) -> Self {
        let mut nonce = [0; 32];
        for (to, from) in nonce.iter_mut().zip(counter.to_le_bytes()) {
            *to = from;
        }
        nonce[31] = part as u8;
        Self(nonce)
    }
}

/// Hides `text` in its place; the tag is over it and `associated`.
pub(crate) fn seal(key: &Key, nonce: Nonce, associated: &[u8], text: &mut [u8]) -> Tag {
    Aegis256X2::new(key, &nonce.0).encrypt_in_place(text, associated)
}

/// Opens `sealed` into `out`, which must have its length. Whether it is what was sealed; if not, `out` is worth nothing.
pub(crate) fn open(key: &Key, nonce: Nonce, associated: &[u8], sealed: &[u8], tag: &Tag, out: &mut [u8]) -> bool {
    if sealed.len() != out.len() {
        return false;
    }
    let cipher = Aegis256X2::<TAG>::new(key, &nonce.0);
    let mut decryptor = cipher.decryptor(associated, out);
    decryptor.update(sealed).is_ok() && decryptor.finalize(tag).is_ok()
}

/// The MAC of the parts, each behind its length so that no two lists of parts read alike.
pub(crate) fn mac(key: &Key, nonce: Nonce, parts: &[&[u8]]) -> Tag {
    fed(key, nonce, parts).finalize()
}

/// Whether `tag` is the MAC of the parts; takes as long for any tag.
pub(crate) fn is_mac(key: &Key, nonce: Nonce, parts: &[&[u8]], tag: &Tag) -> bool {
    fed(key, nonce, parts).verify(tag).is_ok()
}

fn fed(key: &Key, nonce: Nonce, parts: &[&[u8]]) -> Aegis256X2Mac<TAG> {
    let mut mac = Aegis256X2Mac::new_with_nonce(key, &nonce.0);
    for part in parts {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting<const N: usize>(from: u8) -> [u8; N] {
        std::array::from_fn(|at| from + u8::try_from(at).unwrap())
    }

    fn hex(digits: &str) -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    /// The second vector of AEGIS-256X2 in RFC 10032.
    #[test]
    fn it_seals_as_the_specification_says() {
        let (key, nonce) = (counting(0), Nonce(counting(16)));
        let associated = [1, 2, 3, 4, 1, 2, 3, 4];
        let text = [4, 5, 6, 7].repeat(30);
        let sealed = hex(concat!(
            "72120c2ea8236180d67859001f4729077b7064c414384fe3a7b52f1571f4f8a7d0f01e18db4f3bc0adb150702e5d147a",
            "8d36522132761b994c1bd395589e2ccf0790dfe2a3d12d61cd666b2859827739db4037dd3124c78424459376f6cac08e",
            "1a7223a2a43e398ce6385cd654a19f481cba3b8f25910b42",
        ));
        let mut buffer = text.clone();
        let tag = seal(&key, nonce, &associated, &mut buffer);
        assert_eq!(buffer, sealed);
        assert_eq!(tag.to_vec(), hex("635d391828520bf1512763f0c8f5cdbd"));
        let mut out = vec![0; text.len()];
        assert!(open(&key, nonce, &associated, &sealed, &tag, &mut out));
        assert_eq!(out, text);
        assert!(!open(&key, nonce, &[], &sealed, &tag, &mut out), "other associated data");
        assert!(!open(&key, nonce, &associated, &sealed, &tag, &mut out[1..]), "another length");
    }

    #[test]
    fn a_mac_differs_by_key_nonce_and_where_its_parts_end() {
        let nonce = |counter| Nonce::new(counter, Part::Proof);
        let one = mac(&[1; 32], nonce(1), &[b"ab", b"c"]);
        assert!(is_mac(&[1; 32], nonce(1), &[b"ab", b"c"], &one));
        assert!(!is_mac(&[2; 32], nonce(1), &[b"ab", b"c"], &one));
        assert!(!is_mac(&[1; 32], nonce(2), &[b"ab", b"c"], &one));
        assert!(!is_mac(&[1; 32], nonce(1), &[b"a", b"bc"], &one));
        assert!(!is_mac(&[1; 32], nonce(1), &[b"abc"], &one));
    }

    /// The vector of the MAC of AEGIS-256X2 in RFC 10032.
    #[test]
    fn its_mac_is_as_the_specification_says() {
        let (mut key, mut nonce) = ([0; 32], [0; 32]);
        key[..2].copy_from_slice(&[0x10, 0x01]);
        nonce[..3].copy_from_slice(&[0x10, 0x00, 0x02]);
        let mut mac = Aegis256X2Mac::<TAG>::new_with_nonce(&key, &nonce);
        mac.update(&counting::<35>(0));
        assert_eq!(mac.finalize().to_vec(), hex("fb319cb6dd728a764606fb14d37f2a5e"));
    }
}
