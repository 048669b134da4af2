//! The textual encoding of keys and certificates (RFC 7468): blocks of base64 between two marked lines.
//!
//! Takes text, gives its blocks. Text around blocks is ignored (RFC 7468 section 5.2), and lines may be of any length,
//! because keys that were pasted into a configuration often have lost theirs. A private key is an error, whatever else is
//! there: it must not stay where it was put. Deliberately does not look at what a block holds.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How a block begins; the label and five more hyphens follow.
const BEGIN: &str = "-----BEGIN ";

/// A block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PemBlock<'a> {
    /// What it is, for example `PUBLIC KEY`.
    pub label: &'a str,
    /// What it holds.
    pub der: Vec<u8>,
}

/// Why text is not PEM of public things.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PemError {
    /// There is no block, or one without its end, or one whose content is not base64.
    Form,
    /// There is a private key.
    PrivateKey,
}

/// Whether `text` has the beginning of a block.
pub fn is_pem(text: &str) -> bool {
    text.contains(BEGIN)
}

/// The blocks of `text`; at least one.
///
/// # Errors
///
/// See [`PemError`].
pub fn blocks(text: &str) -> Result<Vec<PemBlock<'_>>, PemError> {
    // Before anything else, since old encrypted keys are not of the form of RFC 7468.
    if text.contains("PRIVATE KEY-----") {
        return Err(PemError::PrivateKey);
    }
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (label, after) = after.split_once("-----").ok_or(PemError::Form)?;
        let (content, after) = after.split_once(&format!("-----END {label}-----")).ok_or(PemError::Form)?;
        let content: String = content.split_ascii_whitespace().collect();
        let der = STANDARD.decode(content).map_err(|_| PemError::Form)?;
        blocks.push(PemBlock { label, der });
        rest = after;
    }
    if blocks.is_empty() { Err(PemError::Form) } else { Ok(blocks) }
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "PEM whose blocks are not whole",
            Self::PrivateKey => "a private key, which must stay with whoever signs",
        })
    }
}

impl std::error::Error for PemError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks_are_found_between_other_text_with_lines_of_any_length() {
        let text = "subject=x\n-----BEGIN A B-----\nAA\nEC\r\n-----END A B-----\n\n-----BEGIN C-----AAEC-----END C-----";
        let found = blocks(text).unwrap();
        assert_eq!(
            found,
            ["A B", "C"].map(|label| PemBlock { label, der: vec![0, 1, 2] }),
            "with white space and without"
        );
    }

    #[test]
    fn a_block_that_is_not_whole_is_an_error() {
        for text in [
            "",
            "AAEC",
            "-----BEGIN A",
            "-----BEGIN A-----",
            "-----BEGIN A-----AAEC",
            "-----BEGIN A-----AAEC-----END B-----",
            "-----BEGIN A-----AAE-----END A-----",
            "-----BEGIN A-----AAE?-----END A-----",
            "-----BEGIN A-----AAEC-----END A-----\n-----BEGIN A-----AAEC",
        ] {
            assert_eq!(blocks(text), Err(PemError::Form), "{text}");
        }
    }

    #[test]
    fn a_private_key_is_refused_whatever_else_is_there() {
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            let text = format!(
                "-----BEGIN PUBLIC KEY-----AAEC-----END PUBLIC KEY-----\n-----BEGIN {label}-----\nProc-Type: 4\n"
            );
            assert_eq!(blocks(&text), Err(PemError::PrivateKey), "{label}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "(-----BEGIN |-----END |A-----|AAEC|=|\\PC){0,20}") {
            let _ = blocks(&text);
        }
    }
}
