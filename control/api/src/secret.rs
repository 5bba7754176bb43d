//! Secrets that no `Debug`, no log and no listing shows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that is never printed: a key, a token, a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: name the place where it goes when you call this.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A 256-bit symmetric key, 64 hex digits in JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// Wraps 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<String> for SecretKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "a key has 64 hex digits")?;
        Ok(Self(bytes))
    }
}

impl From<SecretKey> for String {
    fn from(key: SecretKey) -> String {
        hex::encode(key.0)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

#[cfg(feature = "openapi")]
macro_rules! text_schema {
    ($name:ident, $description:literal) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let text = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::String);
                text.description(Some($description)).into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

#[cfg(feature = "openapi")]
text_schema!(Secret, "A secret text.");
#[cfg(feature = "openapi")]
text_schema!(SecretKey, "A 256-bit key, 64 hex digits.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let shown = format!("{:?} {:?}", Secret::new("hunter2"), SecretKey::new([7; 32]));
        assert!(!shown.contains("hunter2") && !shown.contains("0707"), "{shown}");
    }

    #[test]
    fn a_key_survives_json() {
        let key = SecretKey::new([9; 32]);
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<SecretKey>(&text).unwrap(), key);
        assert!(serde_json::from_str::<SecretKey>("\"09\"").is_err());
    }
}
