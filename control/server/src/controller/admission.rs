//! Admission of code: what is uploaded is looked at before anything of it is kept.

use bytes::Bytes;
use flame_api::{Code, Problem};
use flame_bundle::BundleError;

/// The components of an upload by role, or everything that is wrong with it. `unchecked` lets a component pass that
/// cannot run here, as long as its roles can be told.
pub(super) fn admit(file: &Bytes, unchecked: bool) -> Result<Vec<(String, Bytes)>, Problem> {
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
    use super::*;

    #[test]
    fn what_is_no_component_is_refused_with_the_fix() {
        let core_module = Bytes::from_static(b"\0asm\x01\0\0\0");
        let problem = admit(&core_module, false).unwrap_err();
        assert_eq!(problem.code, Code::Refused);
        assert!(problem.message.contains("wasm32-wasip2"), "{problem}");
    }

    #[test]
    fn every_reason_against_a_component_is_listed() {
        let empty_component = Bytes::from_static(b"\0asm\x0d\0\x01\0");
        let problem = admit(&empty_component, false).unwrap_err();
        assert!(problem.problems.len() >= 2, "{problem}");
        assert!(admit(&empty_component, true).is_err(), "its roles cannot be told");
    }
}
