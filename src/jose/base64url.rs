//! Base64url without padding (RFC 7515 section 2), in its one canonical spelling.
//!
//! Takes text, gives bytes. Padding, white space, the `+/` alphabet, impossible lengths and non-zero trailing bits are
//! all refused: a token must have exactly one spelling, or anything keyed by its text could be walked around. For those
//! who sign tokens with padding there is the one spelling with it.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

/// The bytes behind `text`, or `None` when it is not canonical.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The bytes behind `text` with its padding, or `None` when it is not canonical.
pub fn decode_padded(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE.decode(text).ok()
}

/// The canonical text of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_decodes() {
        assert_eq!(decode(b"AAEC_-8").as_deref(), Some(&[0, 1, 2, 0xff, 0xef][..]));
        for text in
            ["AAEC_-8=", "AAEC/+8", "AAEC_-9", "AAEC _-8", "AAEC\n_-8", "A", "AAAAA", "AA=", "%3D", "AA?A"]
        {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn with_padding_only_the_spelling_with_all_of_it_decodes() {
        assert_eq!(decode_padded(b"AAEC_-8=").as_deref(), Some(&[0, 1, 2, 0xff, 0xef][..]));
        assert_eq!(decode_padded(b"AA==").as_deref(), Some(&[0][..]));
        assert_eq!(decode_padded(b"AAEC").as_deref(), Some(&[0, 1, 2][..]));
        for text in
            ["AAEC_-8", "AAEC_-8==", "AAEC_-9=", "AAEC/+8=", "AA", "AA=", "AA===", "AAEC====", "=", "A=A="]
        {
            assert_eq!(decode_padded(text.as_bytes()), None, "{text}");
        }
    }
}
