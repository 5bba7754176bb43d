//! Admission of code: what is uploaded is looked at, with its signatures, before anything of it is kept.

use std::collections::BTreeMap;

use bytes::Bytes;
use flame_api::{Code, CodeRef, CodeSignature, Problem};
use flame_bundle::{BundleError, MAX_SIGNATURES, SignedDigest, sha256_hex};

/// An upload that is accepted.
#[derive(Debug)]
pub(super) struct Admitted {
    /// What each role runs, and who signed it.
    pub(super) roles: BTreeMap<String, CodeRef>,
    /// The distinct components by digest.
    pub(super) components: BTreeMap<String, Bytes>,
}

/// Looks at an upload and the lines of its signatures; or says everything that is wrong with either. `unchecked` lets a
/// component pass that cannot run here, as long as its roles can be told. Signatures are always checked.
pub(super) fn admit(file: &Bytes, signatures: &[String], unchecked: bool) -> Result<Admitted, Problem> {
    let parts = components(file, unchecked);
    let (signatures, mut problems) = signed(signatures);
    let parts = match parts {
        Ok(parts) => parts,
        Err(problem) => {
            let reasons = [problem.problems.as_slice(), &problems].concat();
            return Err(problem.problems(reasons));
        }
    };
    let mut admitted = Admitted { roles: BTreeMap::new(), components: BTreeMap::new() };
    for (role, bytes) in parts {
        let (sha256, size) = (sha256_hex(&bytes), bytes.len() as u64);
        let mut own: Vec<CodeSignature> = Vec::new();
        for signed in signatures.iter().filter(|signed| signed.sha256 == sha256) {
            let signer = signed.signature.signer().to_string();
            if !own.iter().any(|known| known.signer == signer) {
                own.push(CodeSignature { signer, signature: signed.signature.to_base64() });
            }
        }
        admitted.roles.insert(role, CodeRef { sha256: sha256.clone(), size, signatures: own });
        admitted.components.insert(sha256, bytes);
    }
    let foreign = signatures.iter().filter(|signed| !admitted.components.contains_key(&signed.sha256));
    problems.extend(foreign.map(|signed| {
        let digests: Vec<_> = admitted.components.keys().map(String::as_str).collect();
        format!(
            "the signature by {} is of code with sha256 {}, and the upload has {}: sign the file that you upload",
            signed.signature.signer(),
            signed.sha256,
            digests.join(", ")
        )
    }));
    if problems.is_empty() {
        return Ok(admitted);
    }
    Err(Problem::new(Code::Refused, "a signature of the code is refused")
        .hint("`flamectl sign FILE --key KEY` signs a file as it is now")
        .problems(problems))
}

/// The signatures that hold, and what is wrong with the others.
fn signed(lines: &[String]) -> (Vec<SignedDigest>, Vec<String>) {
    if lines.len() > MAX_SIGNATURES {
        return (Vec::new(), vec![format!("there are more than {MAX_SIGNATURES} signatures")]);
    }
    let (mut signatures, mut problems) = (Vec::new(), Vec::new());
    for line in lines {
        let read = line.parse::<SignedDigest>().and_then(|signed| signed.holds().map(|()| signed));
        match read {
            Ok(signed) => signatures.push(signed),
            Err(error) => problems.push(error.to_string()),
        }
    }
    (signatures, problems)
}

/// The components of an upload by role.
fn components(file: &Bytes, unchecked: bool) -> Result<Vec<(String, Bytes)>, Problem> {
    match flame_bundle::open(file) {
        Ok(bundle) => Ok(bundle
            .roles
            .into_iter()
            .map(|(role, component)| (role, Bytes::copy_from_slice(&component.bytes)))
            .collect()),
        Err(BundleError::Refused(reasons)) => {
            if unchecked
                && let Ok(component) = flame_bundle::inspect(file)
                && !component.roles.is_empty()
            {
                return Ok(component.roles.into_iter().map(|role| (role, file.clone())).collect());
            }
            Err(Problem::new(Code::Refused, "the code is refused").problems(reasons))
        }
        Err(error) => {
            let code = match error {
                BundleError::TooLarge { .. } => Code::TooLarge,
                _ => Code::Refused,
            };
            Err(Problem::new(code, error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use flame_bundle::SecretKey;

    use super::*;

    #[test]
    fn what_is_no_component_is_refused_with_the_fix() {
        let core_module = Bytes::from_static(b"\0asm\x01\0\0\0");
        let problem = admit(&core_module, &[], false).unwrap_err();
        assert_eq!(problem.code, Code::Refused);
        assert!(problem.message.contains("wasm32-wasip2"), "{problem}");
    }

    #[test]
    fn every_reason_against_a_component_is_listed() {
        let empty_component = Bytes::from_static(b"\0asm\x0d\0\x01\0");
        let problem = admit(&empty_component, &[], false).unwrap_err();
        assert!(problem.problems.len() >= 2, "{problem}");
        assert!(admit(&empty_component, &[], true).is_err(), "its roles cannot be told");
    }

    #[test]
    fn reasons_against_the_code_and_its_signatures_come_together() {
        let empty_component = Bytes::from_static(b"\0asm\x0d\0\x01\0");
        let signed = SecretKey::generate().unwrap().sign(&sha256_hex(&empty_component));
        let altered = SignedDigest { sha256: sha256_hex(b"other"), ..signed };
        let problem = admit(&empty_component, &[altered.to_string(), "sha256:zz".into()], false).unwrap_err();
        let said = problem.to_string();
        for part in ["does not export run", "does not hold for the code", "has not three fields"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
