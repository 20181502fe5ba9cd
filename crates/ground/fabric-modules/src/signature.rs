//! Signatures of modules: Ed25519, in the format of minisign, beside the module as `FILE.minisig`. Pure.

use std::fmt;

use minisign_verify::{Error, PublicKey, Signature};

/// The keys of which one must have signed a module.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys {
    keys: Vec<PublicKey>,
}

impl TrustedKeys {
    /// Reads public keys as minisign prints them: `RW…`, 56 characters each. Without any, no module is loaded.
    ///
    /// # Errors
    /// Says which is not a key.
    pub fn parse<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, KeyError> {
        let parse = |text: &str| PublicKey::from_base64(text.trim()).map_err(|_| KeyError { text: text.to_owned() });
        Ok(Self { keys: keys.into_iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether `signature`, the text of a `.minisig`, is one of these keys' over `bytes`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, bytes: &[u8], signature: &str) -> Result<(), SignatureError> {
        let signature = Signature::decode(signature).map_err(|_| SignatureError::Malformed)?;
        for key in &self.keys {
            // Signatures of the old kind, over the bytes instead of their hash, are refused: one form is enough.
            match key.verify(bytes, &signature, false) {
                Ok(()) => return Ok(()),
                // Another key of the list may be meant.
                Err(Error::UnexpectedKeyId) => {}
                Err(Error::UnexpectedAlgorithm | Error::UnsupportedAlgorithm | Error::UnsupportedLegacyMode) => {
                    return Err(SignatureError::Legacy);
                }
                Err(Error::InvalidSignature | Error::InvalidEncoding | Error::IoError(_)) => {
                    return Err(SignatureError::OtherBytes);
                }
            }
        }
        Err(SignatureError::UnknownKey)
    }
}

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    /// The text.
    pub text: String,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no minisign public key", self.text)
    }
}

impl std::error::Error for KeyError {}

/// Why a signature does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureError {
    /// It is no signature of minisign.
    Malformed,
    /// It is of minisign's old kind, which is not accepted.
    Legacy,
    /// It was made with a key that is not trusted.
    UnknownKey,
    /// It was made with a trusted key, for other bytes.
    OtherBytes,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "its signature is malformed",
            Self::Legacy => "its signature is of minisign's old kind; sign it anew (minisign -S -H)",
            Self::UnknownKey => "it was signed with a key that is not trusted",
            Self::OtherBytes => "its bytes are not those that were signed",
        })
    }
}

impl std::error::Error for SignatureError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(pair: &minisign::KeyPair, bytes: &[u8]) -> String {
        minisign::sign(Some(&pair.pk), &pair.sk, bytes, None, None).expect("signed").into_string()
    }

    #[test]
    fn one_trusted_key_and_the_same_bytes_are_needed() {
        let [pair, other] = [(); 2].map(|()| minisign::KeyPair::generate_unencrypted_keypair().expect("random"));
        let texts = [&other, &pair].map(|pair| pair.pk.to_base64());
        let keys = TrustedKeys::parse(texts.iter().map(String::as_str)).expect("keys");
        let signature = sign(&pair, b"module");
        assert_eq!(keys.verify(b"module", &signature), Ok(()));
        assert_eq!(keys.verify(b"modulf", &signature), Err(SignatureError::OtherBytes));
        assert_eq!(TrustedKeys::default().verify(b"module", &signature), Err(SignatureError::UnknownKey));
        let others = TrustedKeys::parse([texts[0].as_str()]).expect("a key");
        assert_eq!(others.verify(b"module", &signature), Err(SignatureError::UnknownKey));
    }

    #[test]
    fn a_comment_that_was_changed_is_found_and_nonsense_is_malformed() {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("random");
        let keys = TrustedKeys::parse([pair.pk.to_base64().as_str()]).expect("a key");
        let signature = sign(&pair, b"module");
        let forged = signature
            .replace("trusted comment: ", "trusted comment: really ")
            .replace("untrusted comment: really ", "untrusted comment: ");
        assert_ne!(forged, signature);
        assert_eq!(keys.verify(b"module", &forged), Err(SignatureError::OtherBytes));
        for text in ["", "x", "a\nb\nc\nd\n", &signature[..signature.len() / 2]] {
            assert_eq!(keys.verify(b"module", text), Err(SignatureError::Malformed), "{text:?}");
        }
        assert!(TrustedKeys::parse(["RWnonsense"]).expect_err("no key").to_string().contains("RWnonsense"));
    }
}
