//! Who vouches for code: detached ed25519 signatures (RFC 8032) over the digest of a component.
//!
//! What is signed is [`message`]: a fixed first line, so that a signature made for something else never passes as one of
//! code, and the component's SHA-256, so that large files need not lie in memory twice. A component is signed, never a zip:
//! an agent only ever sees the component that it runs. Every form is one line of text:
//!
//! | what | line |
//! |---|---|
//! | public key | `flame-ed25519:` and 32 bytes in base64 |
//! | secret key | `flame-ed25519-secret:` and the 32 bytes of the seed in base64 |
//! | signature | `sha256:<hex> flame-ed25519:<base64> signature:<base64>` |
//!
//! Files of them may have empty lines and comments, which begin with `#`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What a public key begins with.
const PUBLIC: &str = "flame-ed25519:";
/// What a secret key begins with.
const SECRET: &str = "flame-ed25519-secret:";
/// What the digest in a line begins with.
const DIGEST: &str = "sha256:";
/// What the signature in a line begins with.
const SIGNATURE: &str = "signature:";
/// Most signatures of one file or upload: four signers of every component that a zip can have.
pub const MAX_SIGNATURES: usize = 4 * crate::MAX_ENTRIES;
/// Most bytes of a file of keys or signatures.
pub const MAX_SIGNATURE_FILE_BYTES: u64 = 1 << 20;

/// Keys under which a signature can be made without knowing a secret, because they are points of small order; with the
/// sign bit cleared. All zeros, which somebody might write as a placeholder, is one of them.
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Why a key or a signature is none, or does not hold. No message ever shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A text that is no public key.
    #[error("`{shown}` is no public key: {reason}; one looks like {PUBLIC}<base64>, as `flamectl keygen` prints it")]
    PublicKey {
        /// The text, cut and escaped.
        shown: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text that is no secret key.
    #[error("there is no secret key: {reason}; its line looks like {SECRET}<base64>, as `flamectl keygen` writes it")]
    SecretKey {
        /// What is wrong with it.
        reason: String,
    },
    /// A text that is no signature.
    #[error(
        "no signature: {reason}; a line looks like `{DIGEST}<hex> {PUBLIC}<base64> {SIGNATURE}<base64>`, as `flamectl sign` \
         writes it"
    )]
    Signature {
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a file.
    #[error("line {line}: {error}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        error: Box<SignatureError>,
    },
    /// A file without a signature, or with too many.
    #[error("{0}")]
    File(String),
    /// A signature that somebody else made, or that was made of something else.
    #[error(
        "the signature by {signer} does not hold for the code with sha256 {sha256}: the code or the signature was altered"
    )]
    DoesNotHold {
        /// Whose it claims to be.
        signer: PublicKey,
        /// The digest of the code.
        sha256: String,
    },
    /// The cryptographic library failed.
    #[error("the system gave no random numbers for a key")]
    NoRandomness,
}

/// A signer, by the key that others check with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    fn new(bytes: [u8; 32]) -> Result<Self, &'static str> {
        let mut unsigned = bytes;
        if let Some(last) = unsigned.last_mut() {
            *last &= 0x7f;
        }
        if SMALL_ORDER.contains(&hex::encode(unsigned).as_str()) {
            return Err("it is one of the few for which anybody can sign");
        }
        Ok(Self(bytes))
    }

    /// Whether `signature` was made by this key of the component with that digest.
    fn made(&self, signature: &[u8; 64], sha256: &str) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&message(sha256), signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = SignatureError;

    fn try_from(text: String) -> Result<Self, SignatureError> {
        text.parse()
    }
}

impl FromStr for PublicKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        if text.starts_with(SECRET) {
            // Whatever else happens, it must not be repeated.
            let (shown, reason) = (format!("{SECRET}…"), "it is a secret key, which nobody else may see".to_owned());
            return Err(SignatureError::PublicKey { shown, reason });
        }
        let wrong = |reason: String| SignatureError::PublicKey { shown: shown(text), reason };
        let bytes = field(text, PUBLIC).map_err(wrong)?;
        Self::new(bytes).map_err(|reason| wrong(reason.to_owned()))
    }
}

/// The key that signs. Its `Debug` shows the public half alone.
pub struct SecretKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SecretKey {
    /// A new key from the system's randomness.
    pub fn generate() -> Result<Self, SignatureError> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| SignatureError::NoRandomness)?;
        Self::from_seed(seed)
    }

    fn from_seed(seed: [u8; 32]) -> Result<Self, SignatureError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|error| SignatureError::SecretKey { reason: error.to_string() })?;
        Ok(Self { seed, pair })
    }

    /// The half that others check with.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        // The library's public keys have 32 bytes.
        for (to, from) in bytes.iter_mut().zip(self.pair.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(bytes)
    }

    /// Signs the component with that digest (hex, as [`crate::sha256_hex`] gives it).
    pub fn sign(&self, sha256: &str) -> SignedDigest {
        let mut signature = [0; 64];
        for (to, from) in signature.iter_mut().zip(self.pair.sign(&message(sha256)).as_ref()) {
            *to = *from;
        }
        SignedDigest { sha256: sha256.to_owned(), signature: Signature { signer: self.public(), bytes: signature } }
    }

    /// The file that keeps it: secret, to be readable by its owner alone.
    pub fn to_file(&self) -> String {
        format!(
            "# A Flame signing key. Whoever has this file signs code in your name: show it to nobody, and keep a copy.\n\
             # Its public half: {}\n{SECRET}{}\n",
            self.public(),
            STANDARD.encode(self.seed)
        )
    }

    /// Reads what [`Self::to_file`] wrote.
    pub fn from_file(text: &str) -> Result<Self, SignatureError> {
        let wrong = |reason: &str| SignatureError::SecretKey { reason: reason.to_owned() };
        let mut lines = content(text).map(|(_, line)| line);
        let line = lines.next().ok_or_else(|| wrong("the file has no line but comments"))?;
        if lines.next().is_some() {
            return Err(wrong("the file has several lines, and a key is one"));
        }
        if line.starts_with(PUBLIC) {
            return Err(wrong("this is a public key, and signing takes the secret one, in the file without .pub"));
        }
        Self::from_seed(field(line, SECRET).map_err(|reason| wrong(&reason))?)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public()).finish_non_exhaustive()
    }
}

/// What a signer left. Whether it holds is for [`Self::holds`] to say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    signer: PublicKey,
    bytes: [u8; 64],
}

impl Signature {
    /// A signature as two texts: the signer's public key, and 64 bytes in base64.
    pub fn parse(signer: &str, signature: &str) -> Result<Self, SignatureError> {
        let bytes = field(signature, "").map_err(|reason| SignatureError::Signature { reason })?;
        Ok(Self { signer: signer.parse()?, bytes })
    }

    /// Whose it claims to be.
    pub fn signer(&self) -> PublicKey {
        self.signer
    }

    /// The signature itself in base64.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.bytes)
    }

    /// Whether the signer made it of the component with that digest.
    pub fn holds(&self, sha256: &str) -> Result<(), SignatureError> {
        if self.signer.made(&self.bytes, sha256) {
            return Ok(());
        }
        Err(SignatureError::DoesNotHold { signer: self.signer, sha256: shown(sha256) })
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {SIGNATURE}{}", self.signer, self.to_base64())
    }
}

/// A line of a signature file: a signature with the digest that it is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedDigest {
    /// SHA-256 of the component, 64 lower-case hex digits.
    pub sha256: String,
    /// Who vouches for it.
    pub signature: Signature,
}

impl SignedDigest {
    /// Whether the signature holds for the digest beside it.
    pub fn holds(&self) -> Result<(), SignatureError> {
        self.signature.holds(&self.sha256)
    }

    /// Reads every line of a signature file; there is at least one.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, SignatureError> {
        let mut signatures = Vec::new();
        for (line, text) in content(text) {
            if signatures.len() == MAX_SIGNATURES {
                return Err(SignatureError::File(format!("there are more than {MAX_SIGNATURES} signatures")));
            }
            let error = |error| SignatureError::Line { line, error: Box::new(error) };
            signatures.push(text.parse().map_err(error)?);
        }
        if signatures.is_empty() {
            return Err(SignatureError::File("there is no signature in it".to_owned()));
        }
        Ok(signatures)
    }
}

impl fmt::Display for SignedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DIGEST}{} {:?}", self.sha256, self.signature)
    }
}

impl FromStr for SignedDigest {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let wrong = |reason: String| SignatureError::Signature { reason };
        let fields: Vec<&str> = text.split_ascii_whitespace().take(4).collect();
        let [digest, signer, signature] = fields.as_slice() else {
            return Err(wrong(format!("`{}` has not three fields", shown(text))));
        };
        let sha256 = digest.strip_prefix(DIGEST).filter(|hex| is_sha256(hex));
        let sha256 =
            sha256.ok_or_else(|| wrong(format!("`{}` is not {DIGEST} and 64 lower-case hex digits", shown(digest))))?;
        let bytes = field(signature, SIGNATURE).map_err(wrong)?;
        let signature = Signature { signer: signer.parse()?, bytes };
        Ok(Self { sha256: sha256.to_owned(), signature })
    }
}

/// What is signed of the component with that digest.
pub fn message(sha256: &str) -> Vec<u8> {
    [b"flame code signature v1\n", sha256.as_bytes()].concat()
}

/// Whether a text is a SHA-256 as everything here writes it.
fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The lines that say something, with their numbers from 1.
fn content(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// A prefix and `N` bytes in base64; or what is wrong, without showing them.
fn field<const N: usize>(text: &str, prefix: &str) -> Result<[u8; N], String> {
    let encoded = text.strip_prefix(prefix).ok_or_else(|| format!("it does not begin with {prefix}"))?;
    // Nothing is decoded that cannot fit: base64 writes four characters for three bytes.
    if encoded.len() != N.div_ceil(3) * 4 {
        return Err(format!(
            "{N} bytes are {} characters of base64, and there are {}",
            N.div_ceil(3) * 4,
            encoded.len()
        ));
    }
    let bytes = STANDARD.decode(encoded).map_err(|_| "what follows is not base64".to_owned())?;
    bytes.try_into().map_err(|bytes: Vec<u8>| format!("it has {} bytes and not {N}", bytes.len()))
}

/// Foreign text for a message: cut, and harmless to a terminal.
fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}
