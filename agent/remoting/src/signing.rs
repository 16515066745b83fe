//! Request signing, the same for ACL 1.0 and ACL 2.0 (`AclClientRPCHook`, `AclUtils#combineRequestContent`,
//! `AclSigner`): Base64 of HMAC-SHA1 over the values of all arguments in the order of their keys, then the body.
//! Neither code nor opaque number are covered and there is no nonce, so whoever sees a signed request can repeat it.

use std::fmt;

use ring::hmac;

use crate::command::Command;

const ACCESS_KEY: &str = "AccessKey";
const SECURITY_TOKEN: &str = "SecurityToken";
const SIGNATURE: &str = "Signature";

/// Who we are to a broker. For ACL 2.0 the access key is the user's name and the secret key the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    access_key: String,
    secret_key: String,
    security_token: Option<String>,
}

impl Credentials {
    /// An account's key and secret.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            security_token: None,
        }
    }

    /// The same account with a temporary token.
    #[must_use]
    pub fn with_security_token(mut self, token: impl Into<String>) -> Self {
        self.security_token = Some(token.into());
        self
    }

    /// Adds account and signature to a request. Signing again replaces an earlier signature.
    pub fn sign(&self, request: &mut Command) {
        let ext = &mut request.ext;
        ext.remove(SIGNATURE);
        ext.insert(ACCESS_KEY.to_owned(), self.access_key.clone());
        if let Some(token) = &self.security_token {
            ext.insert(SECURITY_TOKEN.to_owned(), token.clone());
        }
        let key = hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            self.secret_key.as_bytes(),
        );
        let mut content = hmac::Context::with_key(&key);
        // A BTreeMap's order by UTF-8 bytes is Java's TreeMap order for the ASCII names that headers have.
        for value in ext.values() {
            content.update(value.as_bytes());
        }
        content.update(&request.body);
        let signature = base64(content.sign().as_ref());
        ext.insert(SIGNATURE.to_owned(), signature);
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// Standard Base64 with padding; 20 bytes a time are not worth a dependency.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |place: usize| chunk.get(place).copied().unwrap_or(0);
        let word = u32::from_be_bytes([0, at(0), at(1), at(2)]);
        for place in 0..4usize {
            if place > chunk.len() {
                out.push('=');
                continue;
            }
            let six = (word >> (18 - 6 * place)) & 63;
            let digit = usize::try_from(six)
                .ok()
                .and_then(|six| DIGITS.get(six))
                .copied();
            out.push(char::from(digit.unwrap_or(b'A')));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xBF]), "+/+/");
    }

    fn signature(request: &mut Command, credentials: &Credentials) -> String {
        credentials.sign(request);
        request.ext["Signature"].clone()
    }

    /// Made with Java's `AclClientRPCHook`; 4.9.7 and 5.5.0 agree.
    #[test]
    fn signatures_are_those_of_java() {
        let account = Credentials::new("access", "secret-key");
        let mut send = Command::request(310)
            .with("b", "orders")
            .with("a", "group")
            .with("e", "3")
            .with("i", "KEYS\u{1}ü中\u{2}")
            .with("Zeta", "z")
            .with("_under", "u")
            .with_body("a body");
        assert_eq!(
            signature(&mut send, &account),
            "XsHuqUFvAN0yNJpljwY2GzM8FDo="
        );
        let again = signature(&mut send, &account);
        assert_eq!(
            again, "XsHuqUFvAN0yNJpljwY2GzM8FDo=",
            "the old signature is not signed"
        );
        let mut bare = Command::request(28);
        assert_eq!(
            signature(&mut bare, &account),
            "XVLIPGQ28Iq9XHXg1wzywH0m5Hs="
        );
        let account = account.with_security_token("token");
        let mut bare = Command::request(28);
        assert_eq!(
            signature(&mut bare, &account),
            "rHV+IRLt/AiXRLU0Vdomzt6AmcU="
        );
    }

    #[test]
    fn the_secret_is_never_shown() {
        let shown = format!(
            "{:?}",
            Credentials::new("ak", "sesame").with_security_token("token")
        );
        assert!(
            !shown.contains("sesame") && !shown.contains("token"),
            "{shown}"
        );
    }
}
