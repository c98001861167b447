//! Signatures of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, sent as `v1,BASE64`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evenkeel_model::clock::Wall;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// A message older or newer than this is refused: it may be a replay.
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// Fewest and most bytes of a key.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The key of one receiver, from a file that holds `whsec_` and 24 to 64 bytes in base64.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why there is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret file `{}`: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The text is not a secret.
    #[error(
        "the secret must be `whsec_` followed by 24 to 64 bytes in base64 (make one with `printf 'whsec_%s' \"$(openssl rand -base64 32)\"`)"
    )]
    Form,
}

impl Secret {
    /// Reads the secret of a file.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let text = std::fs::read_to_string(path).map_err(|error| SecretError::File {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
        Self::parse(text.trim())
    }

    /// Reads `whsec_...`.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix("whsec_").ok_or(SecretError::Form)?;
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_not_base64| SecretError::Form)?;
        if KEY_BYTES.contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(SecretError::Form)
        }
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp_s: u64, body: &str) -> String {
        // HMAC takes a key of any length, so the error cannot happen; an empty signature would be refused anyway.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return String::new();
        };
        for part in [
            id.as_bytes(),
            b".",
            timestamp_s.to_string().as_bytes(),
            b".",
            body.as_bytes(),
        ] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The timestamp is not a number or too far from now.
    #[error("`webhook-timestamp` is missing or more than {} s from now", TOLERANCE.as_secs())]
    Timestamp,
    /// No signature fits.
    #[error("no signature in `webhook-signature` fits the message")]
    Signature,
}

/// Checks an incoming message: its age, and that one of the space-separated signatures fits, in constant time.
pub fn verify(
    secret: &Secret,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &str,
    now: Wall,
) -> Result<(), VerifyError> {
    let timestamp: u64 = timestamp
        .parse()
        .map_err(|_not_a_number| VerifyError::Timestamp)?;
    if (now.0 / 1_000).abs_diff(timestamp) > TOLERANCE.as_secs() {
        return Err(VerifyError::Timestamp);
    }
    let expected = secret.sign(id, timestamp, body);
    let fits = signatures
        .split(' ')
        .any(|given| bool::from(given.as_bytes().ct_eq(expected.as_bytes())));
    if fits {
        Ok(())
    } else {
        Err(VerifyError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::{Secret, SecretError, VerifyError, verify};
    use evenkeel_model::clock::Wall;

    const BODY: &str = r#"{"test": 2432232314}"#;
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret() -> Secret {
        Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
    }

    #[test]
    fn the_published_vector_is_reproduced() {
        assert_eq!(secret().sign(ID, 1_614_265_330, BODY), SIGNATURE);
    }

    #[test]
    fn a_message_is_believed_only_with_its_own_signature_and_time() {
        let now = Wall(1_614_265_330_000);
        let two = format!("v1,other {SIGNATURE}");
        let check = |id, timestamp, signatures, body, now| {
            verify(&secret(), id, timestamp, signatures, body, now)
        };
        assert_eq!(check(ID, "1614265330", &two, BODY, now), Ok(()));
        assert_eq!(
            check(ID, "1614265330", SIGNATURE, "{}", now),
            Err(VerifyError::Signature)
        );
        assert_eq!(
            check("msg_x", "1614265330", SIGNATURE, BODY, now),
            Err(VerifyError::Signature)
        );
        assert_eq!(
            check(ID, "1614265331", SIGNATURE, BODY, now),
            Err(VerifyError::Signature)
        );
        assert_eq!(
            check(ID, "soon", SIGNATURE, BODY, now),
            Err(VerifyError::Timestamp)
        );
        let late = Wall(now.0 + 301_000);
        assert_eq!(
            check(ID, "1614265330", SIGNATURE, BODY, late),
            Err(VerifyError::Timestamp)
        );
    }

    #[test]
    fn a_secret_is_checked_and_never_shown() {
        for text in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_AAAA",
            "whsec_!!",
        ] {
            assert_eq!(
                Secret::parse(text).unwrap_err(),
                SecretError::Form,
                "{text}"
            );
        }
        assert_eq!(format!("{:?}", secret()), "Secret(..)");
    }
}
