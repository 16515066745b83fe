//! One request or reply of the protocol, and who sent it.

use std::collections::BTreeMap;
use std::fmt;

/// Protocol version we claim: V4_9_4 (`MQVersion`).
///
/// From 401 on a name server answers a route request in strict JSON; above 475 (V5_3_1) a broker that is stopping
/// gracefully answers GO_AWAY instead of serving (facts §1.4).
pub const VERSION: i32 = 401;

/// Bit of [`Command::flag`]: this is a reply.
const REPLY: i32 = 1;
/// Bit of [`Command::flag`]: nobody waits for a reply, and the server writes none, not even an error.
const ONEWAY: i32 = 2;

/// A request or a reply (`RemotingCommand`).
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// What is asked ([`crate::code::request`]), or in a reply how it went ([`crate::code::ResponseCode`]).
    pub code: i32,
    /// Who speaks.
    pub language: Language,
    /// `MQVersion` ordinal of who speaks.
    pub version: i32,
    /// Ties a reply to its request; chosen by the requester, unique on its connection.
    pub opaque: i32,
    /// Bit 0: reply. Bit 1: one-way request.
    pub flag: i32,
    /// Error text of a reply. An empty text is the same as none in the binary header.
    pub remark: Option<String>,
    /// The named arguments (`extFields`), all of them strings.
    pub ext: BTreeMap<String, String>,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Command {
    /// A request without arguments. The client sets the opaque number when it sends.
    pub fn request(code: i32) -> Self {
        Self {
            code,
            language: Language::Rust,
            version: VERSION,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: BTreeMap::new(),
            body: Vec::new(),
        }
    }

    /// The reply to `request`, with its opaque number.
    pub fn reply_to(request: &Self, code: i32) -> Self {
        Self {
            opaque: request.opaque,
            flag: REPLY,
            ..Self::request(code)
        }
    }

    /// Sets one named argument.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "reads better at the call: numbers and texts alike"
    )]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.ext.insert(key.to_owned(), value.to_string());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Marks a request as one that nobody answers.
    #[must_use]
    pub fn oneway(mut self) -> Self {
        self.flag |= ONEWAY;
        self
    }

    /// Is it a reply, not a request?
    pub fn is_reply(&self) -> bool {
        self.flag & REPLY != 0
    }

    /// Is it a request that nobody answers?
    pub fn is_oneway(&self) -> bool {
        self.flag & ONEWAY != 0
    }

    /// A named argument.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.ext.get(key).map(String::as_str)
    }
}

impl fmt::Debug for Command {
    /// Shows the body's length only, and no signature: the protocol has no nonce, so a logged signature could be
    /// sent again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ext: BTreeMap<&str, &str> = self
            .ext
            .iter()
            .map(|(key, value)| match key.as_str() {
                "Signature" | "SecurityToken" => (key.as_str(), "(hidden)"),
                shown => (shown, value.as_str()),
            })
            .collect();
        f.debug_struct("Command")
            .field("code", &self.code)
            .field("language", &self.language)
            .field("version", &self.version)
            .field("opaque", &self.opaque)
            .field("flag", &self.flag)
            .field("remark", &self.remark)
            .field("ext", &ext)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// The speaker's programming language (`LanguageCode`): a name in JSON headers, a number in binary ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the variants are their own documentation
pub enum Language {
    Java,
    Cpp,
    Dotnet,
    Python,
    Delphi,
    Erlang,
    Ruby,
    /// Also what a name or number we do not know is read as.
    Other,
    Http,
    Go,
    Php,
    Oms,
    Rust,
    NodeJs,
}

/// Every language: place = number on the wire, with its name on the wire.
const LANGUAGES: [(Language, &str); 14] = [
    (Language::Java, "JAVA"),
    (Language::Cpp, "CPP"),
    (Language::Dotnet, "DOTNET"),
    (Language::Python, "PYTHON"),
    (Language::Delphi, "DELPHI"),
    (Language::Erlang, "ERLANG"),
    (Language::Ruby, "RUBY"),
    (Language::Other, "OTHER"),
    (Language::Http, "HTTP"),
    (Language::Go, "GO"),
    (Language::Php, "PHP"),
    (Language::Oms, "OMS"),
    (Language::Rust, "RUST"),
    (Language::NodeJs, "NODE_JS"),
];

impl Language {
    /// Every language there is.
    pub fn all() -> impl Iterator<Item = Self> {
        LANGUAGES.iter().map(|(language, _)| *language)
    }

    pub(crate) fn name(self) -> &'static str {
        LANGUAGES
            .iter()
            .find(|(language, _)| *language == self)
            .map_or("OTHER", |(_, name)| name)
    }

    pub(crate) fn number(self) -> u8 {
        (0..)
            .zip(LANGUAGES)
            .find(|(_, (language, _))| *language == self)
            .map_or(7, |(number, _)| number)
    }

    pub(crate) fn from_name(name: &str) -> Self {
        LANGUAGES
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(Self::Other, |(language, _)| *language)
    }

    pub(crate) fn from_number(number: u8) -> Self {
        LANGUAGES
            .get(usize::from(number))
            .map_or(Self::Other, |(language, _)| *language)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_survive_both_spellings() {
        for language in Language::all() {
            assert_eq!(Language::from_name(language.name()), language);
            assert_eq!(Language::from_number(language.number()), language);
        }
        assert_eq!(Language::Rust.number(), 12);
        assert_eq!(Language::from_name("COBOL"), Language::Other);
        assert_eq!(Language::from_number(200), Language::Other);
    }

    #[test]
    fn a_signature_stays_out_of_the_logs() {
        let command = Command::request(25)
            .with("Signature", "c2VjcmV0")
            .with_body("x");
        let shown = format!("{command:?}");
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
        assert!(shown.contains("body_bytes: 1"), "{shown}");
    }
}
