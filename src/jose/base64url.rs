//! Base64url without padding (RFC 7515 section 2), in its one canonical spelling.
//!
//! Takes text, gives bytes. Padding, white space, the `+/` alphabet, impossible lengths and non-zero trailing bits are
//! all refused: a token must have exactly one spelling, or anything keyed by its text could be walked around. For those
//! who sign tokens with padding there is the one spelling with it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The bytes behind `text`, or `None` when it is not canonical.
///
/// More of what is done with a new token is done here than anywhere else, and a decoder for any alphabet takes a quarter
/// more steps.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let (groups, rest) = text.as_chunks::<4>();
    let mut bytes = Vec::with_capacity(groups.len() * 3 + 2);
    // Looked at in the end: whatever is not in the alphabet has a bit there that nothing in it has.
    let mut all = 0;
    bytes.extend(groups.iter().flat_map(|group| {
        let [a, b, c, d] = group.map(value);
        all |= a | b | c | d;
        [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]
    }));
    let is_canonical = match *rest {
        [] => true,
        [a, b] => {
            let [a, b] = [a, b].map(value);
            all |= a | b;
            bytes.push(a << 2 | b >> 4);
            b & 0xf == 0
        }
        [a, b, c] => {
            let [a, b, c] = [a, b, c].map(value);
            all |= a | b | c;
            bytes.extend([a << 2 | b >> 4, b << 4 | c >> 2]);
            c & 3 == 0
        }
        _ => false,
    };
    (is_canonical && all & NONE == 0).then_some(bytes)
}

/// The bytes behind `text` with its padding, or `None` when it is not canonical.
pub fn decode_padded(text: &[u8]) -> Option<Vec<u8>> {
    let body = text.strip_suffix(b"=").unwrap_or(text);
    let body = body.strip_suffix(b"=").unwrap_or(body);
    if text.len().is_multiple_of(4) { decode(body) } else { None }
}

/// The six bits of a character, or [`NONE`].
fn value(character: u8) -> u8 {
    VALUES.get(usize::from(character)).copied().unwrap_or(NONE)
}

/// What is not in the alphabet.
const NONE: u8 = 0x80;

/// By the character.
const VALUES: [u8; 256] = {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    let mut values = [NONE; 256];
    let mut value = 0_u8;
    while value < 64 {
        #[expect(clippy::as_conversions, clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            values[ALPHABET[value as usize] as usize] = value;
        }
        value += 1;
    }
    values
};

/// The canonical text of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE;
    use proptest::prelude::*;

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

    /// A character that may be in it, more often than not.
    fn character() -> impl Strategy<Value = u8> {
        prop_oneof![20 => prop::sample::select(b"AQgwBCDz019-_".as_slice()), 1 => Just(b'='), 1 => any::<u8>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn text_is_decoded_or_refused_as_another_decoder_does(
            text in prop::collection::vec(character(), 0..24),
            padding in 0..4_usize,
        ) {
            let text = [text, vec![b'='; padding]].concat();
            prop_assert_eq!(decode(&text), URL_SAFE_NO_PAD.decode(&text).ok());
            prop_assert_eq!(decode_padded(&text), URL_SAFE.decode(&text).ok());
        }

        #[test]
        fn what_was_encoded_is_decoded_and_nothing_else_decodes_to_it(
            bytes: Vec<u8>,
            at: prop::sample::Index,
            other: u8,
        ) {
            let mut text = encode(&bytes).into_bytes();
            prop_assert_eq!(decode(&text), Some(bytes.clone()));
            prop_assert_eq!(decode_padded(URL_SAFE.encode(&bytes).as_bytes()), Some(bytes.clone()));
            if !text.is_empty() && std::mem::replace(at.get_mut(&mut text), other) != other {
                prop_assert_ne!(decode(&text), Some(bytes));
            }
        }
    }

    #[test]
    fn each_byte_is_in_the_alphabet_or_not_as_for_another_decoder() {
        for byte in 0..=u8::MAX {
            for text in [
                [byte, b'A', b'A', b'A'],
                [b'A', byte, b'A', b'A'],
                [b'A', b'A', byte, b'A'],
                [b'A', b'A', b'A', byte],
            ] {
                assert_eq!(decode(&text), URL_SAFE_NO_PAD.decode(text).ok(), "{text:?}");
            }
        }
    }
}
