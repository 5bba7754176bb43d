//! Signatures hold for what was signed by whom it was signed, and for nothing else; and no text breaks the parsers.
#![expect(clippy::unwrap_used, reason = "a test ends where its assumption does")]

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::prelude::{BASE64_STANDARD, Engine};
use flame_bundle::{PublicKey, SecretKey, Signature, SignatureError, SignedDigest, sha256_hex, signature};
use proptest::prelude::*;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

#[test]
fn a_signature_holds_for_the_code_that_was_signed() {
    let (key, digest) = (key(), sha256_hex(b"code"));
    let signed = key.sign(&digest);
    signed.holds().unwrap();
    assert_eq!(signed.signature.signer(), key.public());
    let read: SignedDigest = signed.to_string().parse().unwrap();
    assert_eq!(read, signed);
    let parts = Signature::parse(&key.public().to_string(), &signed.signature.to_base64()).unwrap();
    parts.holds(&digest).unwrap();
}

#[test]
fn a_signature_is_that_of_rfc_8032_over_the_documented_message() {
    // The first test vector's key: others can check our signatures with any implementation.
    let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
    let file = format!("flame-ed25519-secret:{}", encode(seed));
    let key = SecretKey::from_file(&file).unwrap();
    let public = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
    let encoded = encode(&public);
    assert_eq!(key.public().to_string(), format!("flame-ed25519:{encoded}"));
    let digest = sha256_hex(b"code");
    let made = BASE64_STANDARD.decode(key.sign(&digest).signature.to_base64());
    let message = format!("flame code signature v1\n{digest}");
    UnparsedPublicKey::new(&ED25519, public).verify(message.as_bytes(), &made.unwrap()).unwrap();
}

#[test]
fn it_holds_for_no_other_code_and_no_other_key() {
    let (key, other) = (self::key(), self::key());
    let signed = key.sign(&sha256_hex(b"code"));
    let swapped = SignedDigest { sha256: sha256_hex(b"code with an altered byte"), ..signed.clone() };
    let error = swapped.holds().unwrap_err();
    assert!(matches!(error, SignatureError::DoesNotHold { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains(&key.public().to_string()) && said.contains(&swapped.sha256), "{said}");
    let claimed = Signature::parse(&other.public().to_string(), &signed.signature.to_base64()).unwrap();
    assert!(claimed.holds(&signed.sha256).is_err());
}

#[test]
fn the_secret_key_is_kept_in_a_file_and_shown_nowhere_else() {
    let key = key();
    let file = key.to_file();
    let again = SecretKey::from_file(&file).unwrap();
    assert_eq!(again.public(), key.public());
    let secret = file.lines().last().unwrap();
    let body = secret.strip_prefix("flame-ed25519-secret:").unwrap();
    assert!(!format!("{key:?}").contains(body));
    // Taken for a public key, it is not repeated in the message.
    let said = secret.parse::<PublicKey>().unwrap_err().to_string();
    assert!(said.contains("it is a secret key") && !said.contains(body), "{said}");
    let cut = secret.strip_suffix('=').unwrap();
    let said = SecretKey::from_file(cut).unwrap_err().to_string();
    assert!(said.contains("44 characters") && !said.contains(&body[..20]), "{said}");
}

#[test]
fn a_wrong_text_is_told_what_is_wrong_with_it() {
    let key = key();
    let (public, signed) = (key.public().to_string(), key.sign(&sha256_hex(b"x")).to_string());
    let public_key = |text: &str| text.parse::<PublicKey>().unwrap_err().to_string();
    assert!(public_key("ssh-ed25519 AAAA").contains("does not begin with flame-ed25519:"));
    assert!(public_key("flame-ed25519:AAAA").contains("32 bytes are 44 characters of base64, and there are 4"));
    assert!(public_key(&format!("flame-ed25519:{}", "!".repeat(44))).contains("is not base64"));
    assert!(!public_key("flame-ed25519:\u{1b}[2J").contains('\u{1b}'));
    let secret = |text: &str| SecretKey::from_file(text).unwrap_err().to_string();
    assert!(secret("# nothing\n").contains("no line but comments"));
    assert!(secret(&public).contains("this is a public key"));
    assert!(secret(&format!("{0}{0}", key.to_file())).contains("several lines"));
    let line = |text: &str| text.parse::<SignedDigest>().unwrap_err().to_string();
    assert!(line(&public).contains("has not three fields"));
    assert!(line(&format!("{signed} more")).contains("has not three fields"));
    assert!(line(&signed.replace("sha256:", "sha256:A")).contains("64 lower-case hex digits"));
    assert!(line(&signed.replace("signature:", "signed:")).contains("does not begin with signature:"));
    let file = |text: &str| SignedDigest::parse_file(text).unwrap_err().to_string();
    assert!(file("# none\n\n").contains("no signature in it"));
    assert!(file(&format!("# one\n{signed}\nhuh\n")).starts_with("line 3: no signature: `huh`"));
    assert!(file(&format!("{signed}\n").repeat(257)).contains("more than 256"));
    assert_eq!(SignedDigest::parse_file(&format!("# trainer\n{signed}\r\n\n")).unwrap().len(), 1);
}

#[test]
fn a_key_for_which_anybody_can_sign_is_none() {
    let orders = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    // R is the neutral point and S is 0: it needs no secret, only an order that divides the challenge.
    let forged = [&[1][..], &[0; 63]].concat();
    for order in orders {
        let bytes = hex::decode(order).unwrap();
        let anybody = (0..200_u32).any(|i| {
            let message = signature::message(&sha256_hex(&i.to_le_bytes()));
            UnparsedPublicKey::new(&ED25519, &bytes).verify(&message, &forged).is_ok()
        });
        assert!(anybody, "{order} is harmless");
        let text = |bytes: &[u8]| format!("flame-ed25519:{}", encode(bytes));
        let mut negative = bytes.clone();
        negative[31] |= 0x80;
        for bytes in [&bytes, &negative] {
            let said = text(bytes).parse::<PublicKey>().unwrap_err().to_string();
            assert!(said.contains("anybody can sign"), "{said}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_breaks_a_parser(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let encoded = encode(bytes);
        for text in [text.clone(), format!("flame-ed25519:{text}"), format!("flame-ed25519:{encoded}"),
            format!("flame-ed25519-secret:{encoded}"), format!("sha256:{text} flame-ed25519:{encoded} signature:{encoded}")]
        {
            let _ = text.parse::<PublicKey>();
            let _ = SecretKey::from_file(&text);
            let _ = SignedDigest::parse_file(&text);
            let _ = Signature::parse(&text, &text);
        }
    }

    #[test]
    fn every_key_survives_its_text(seed in any::<[u8; 32]>()) {
        let file = format!("flame-ed25519-secret:{}", encode(seed));
        let key = SecretKey::from_file(&file).unwrap();
        prop_assert_eq!(key.public().to_string().parse::<PublicKey>().unwrap(), key.public());
        let kept = format!("{file}\n");
        prop_assert!(key.to_file().ends_with(&kept));
    }

    #[test]
    fn a_line_with_an_altered_character_does_not_hold(at in any::<prop::sample::Index>(), to in any::<char>()) {
        let key = SecretKey::from_file(&format!("flame-ed25519-secret:{}=", "A".repeat(43))).unwrap();
        let line = key.sign(&sha256_hex(b"code")).to_string();
        let mut characters: Vec<char> = line.chars().collect();
        let at = at.index(characters.len());
        prop_assume!(characters[at] != to && !(characters[at].is_whitespace() && to.is_whitespace()));
        characters[at] = to;
        let altered: String = characters.into_iter().collect();
        prop_assert!(altered.parse::<SignedDigest>().is_ok_and(|signed| signed.holds().is_ok()).eq(&false), "{}", altered);
    }
}
