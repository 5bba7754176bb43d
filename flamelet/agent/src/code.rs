//! Whether the bytes that came are the code that was granted, by somebody whom the participant trusts. Asked before
//! anything of them is read as code.

use flame_api::CodeRef;
use flame_bundle::{PublicKey, Signature, sha256_hex};

/// Signatures of a grant that are looked at; a server sends no more than it accepted.
const MAX_SIGNATURES: usize = flame_bundle::MAX_SIGNATURES;
/// Signers that a refusal names.
const NAMED: usize = 8;

/// Why code is not run. Both ends read it: the participant, and whoever looks at the task.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodeError {
    /// Other bytes than the grant's.
    #[error("the code has the digest {found} and the grant names {granted}; it is not run")]
    Digest {
        /// Of the bytes, hex.
        found: String,
        /// Of the grant.
        granted: String,
    },
    /// Nobody whom the participant trusts has signed these bytes.
    #[error(
        "the code with sha256 {sha256} is not run: this participant requires a signature by {required}, and {instead}; \
         have it signed with `flamectl sign`, or ask the participant to trust its signer"
    )]
    Unsigned {
        /// Of the bytes, hex.
        sha256: String,
        /// Who would have had to sign.
        required: String,
        /// Who did.
        instead: String,
    },
}

/// Checks fetched bytes against the grant, and against the signers of whom one is required, if there are any.
pub(crate) fn check(code: &[u8], granted: &CodeRef, signers: &[PublicKey]) -> Result<(), CodeError> {
    let sha256 = sha256_hex(code);
    if sha256 != granted.sha256 {
        // What the control plane says is foreign text here.
        let granted = granted.sha256.chars().take(64).flat_map(char::escape_debug).collect();
        return Err(CodeError::Digest { found: sha256, granted });
    }
    if signers.is_empty() {
        tracing::info!(sha256, "the code is what was granted; nobody has to have signed it");
        return Ok(());
    }
    let (mut others, mut wrong) = (Vec::new(), Vec::new());
    for given in granted.signatures.iter().take(MAX_SIGNATURES) {
        let signature = Signature::parse(&given.signer, &given.signature);
        match signature.and_then(|signature| signature.holds(&sha256).map(|()| signature.signer())) {
            Ok(signer) if signers.contains(&signer) => {
                tracing::info!(sha256, %signer, "the code is what was granted, and is signed");
                return Ok(());
            }
            Ok(signer) => others.push(signer.to_string()),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    let mut instead = match (others.is_empty(), wrong.is_empty()) {
        (true, true) => "nobody has signed it".to_owned(),
        (true, false) => "no signature that came with it holds".to_owned(),
        (false, _) => format!("it is signed by {}", named(&others)),
    };
    if !wrong.is_empty() {
        instead = format!("{instead} ({})", named(&wrong));
    }
    let required: Vec<String> = signers.iter().map(PublicKey::to_string).collect();
    let one_of = if required.len() > 1 { "one of " } else { "" };
    Err(CodeError::Unsigned { sha256, required: format!("{one_of}{}", named(&required)), instead })
}

/// A list for a sentence; its end is left off where it is long.
fn named(texts: &[String]) -> String {
    let shown: Vec<&str> = texts.iter().take(NAMED).map(String::as_str).collect();
    let left_off = texts.len() - shown.len();
    let shown = shown.join(", ");
    if left_off == 0 { shown } else { format!("{shown} and {left_off} more") }
}

#[cfg(test)]
mod tests {
    use flame_api::CodeSignature;
    use flame_bundle::{SecretKey, SignedDigest};

    use super::*;

    const CODE: &[u8] = b"not even a component: nothing here looks into it";

    fn key() -> SecretKey {
        SecretKey::generate().unwrap()
    }

    fn granted(code: &[u8], signatures: &[SignedDigest]) -> CodeRef {
        let text = |signed: &SignedDigest| CodeSignature {
            signer: signed.signature.signer().to_string(),
            signature: signed.signature.to_base64(),
        };
        let signatures = signatures.iter().map(text).collect();
        CodeRef { sha256: sha256_hex(code), size: code.len() as u64, signatures }
    }

    fn refusal(code: &[u8], granted: &CodeRef, signers: &[PublicKey]) -> String {
        check(code, granted, signers).unwrap_err().to_string()
    }

    #[test]
    fn code_by_a_required_signer_is_accepted_whoever_else_signed_it() {
        let (ours, theirs) = (key(), key());
        let digest = sha256_hex(CODE);
        let signed = granted(CODE, &[theirs.sign(&digest), ours.sign(&digest)]);
        check(CODE, &signed, &[ours.public()]).unwrap();
        check(CODE, &signed, &[key().public(), theirs.public()]).unwrap();
        check(CODE, &signed, &[]).unwrap();
        check(CODE, &granted(CODE, &[]), &[]).unwrap();
    }

    #[test]
    fn code_of_an_unknown_signer_is_refused_by_naming_all_three() {
        let (ours, theirs) = (key(), key());
        let signed = granted(CODE, &[theirs.sign(&sha256_hex(CODE))]);
        let said = refusal(CODE, &signed, &[ours.public()]);
        assert!(said.contains(&sha256_hex(CODE)), "{said}");
        assert!(said.contains(&format!("requires a signature by {}", ours.public())), "{said}");
        assert!(said.contains(&format!("it is signed by {};", theirs.public())), "{said}");
        let said = refusal(CODE, &granted(CODE, &[]), &[ours.public(), theirs.public()]);
        assert!(said.contains("by one of flame-ed25519:") && said.contains("nobody has signed it"), "{said}");
    }

    #[test]
    fn an_altered_byte_and_a_swapped_digest_are_refused() {
        let key = key();
        let signed = granted(CODE, &[key.sign(&sha256_hex(CODE))]);
        let mut altered = CODE.to_vec();
        altered[3] ^= 1;
        let said = refusal(&altered, &signed, &[key.public()]);
        assert!(said.contains(&sha256_hex(&altered)) && said.contains(&signed.sha256), "{said}");
        // The digest is changed with the bytes, and the signature stays what it was.
        let swapped = CodeRef { sha256: sha256_hex(&altered), ..signed };
        let said = refusal(&altered, &swapped, &[key.public()]);
        assert!(said.contains("no signature that came with it holds"), "{said}");
        assert!(said.contains("the code or the signature was altered"), "{said}");
    }

    #[test]
    fn an_altered_signature_or_a_borrowed_name_is_refused() {
        let (ours, theirs) = (key(), key());
        let digest = sha256_hex(CODE);
        let mut borrowed = granted(CODE, &[theirs.sign(&digest)]);
        borrowed.signatures[0].signer = ours.public().to_string();
        assert!(refusal(CODE, &borrowed, &[ours.public()]).contains("does not hold"));
        let mut garbage = granted(CODE, &[ours.sign(&digest)]);
        garbage.signatures[0].signature = "\u{1b}[2J".into();
        let said = refusal(CODE, &garbage, &[ours.public()]);
        assert!(said.contains("no signature") && !said.contains('\u{1b}'), "{said}");
        let crowd: Vec<_> = (0..12).map(|_| key().sign(&digest)).collect();
        assert!(refusal(CODE, &granted(CODE, &crowd), &[ours.public()]).contains("and 4 more"));
    }
}
