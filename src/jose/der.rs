//! DER, as far as it must be written (X.690 section 10): public keys and signatures of ECDSA for others to read.
//!
//! Takes bytes and parts that are DER already, gives DER. What is read is the business of `spki` and `pkcs1`.

/// `id-ecPublicKey` (RFC 5480 section 2.1.1).
pub(super) const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// `rsaEncryption` (RFC 8017 appendix A.1).
pub(super) const RSA_ENCRYPTION: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// The parameters of an algorithm that has none.
pub(super) const NULL: &[u8] = &[0x05, 0x00];

/// A `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7): the parts of the algorithm, and the key as it writes keys.
pub(super) fn public_key_info(algorithm: &[&[u8]], key: &[u8]) -> Vec<u8> {
    // All bits of the last byte are used.
    let key = element(0x03, &[&[0], key]);
    sequence(&[&sequence(algorithm), &key])
}

/// A `SEQUENCE` of elements.
pub(super) fn sequence(elements: &[&[u8]]) -> Vec<u8> {
    element(0x30, elements)
}

/// An `INTEGER` that is not negative, from a number with the highest byte first.
pub(super) fn unsigned(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = number.get(zeros..).unwrap_or_default();
    // The highest bit is that of the sign, and there is at least one byte.
    let sign: &[u8] = if number.first().is_none_or(|high| *high >= 0x80) { &[0] } else { &[] };
    element(0x02, &[sign, number])
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut element = Vec::with_capacity(length.saturating_add(10));
    element.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => element.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let bytes = bytes.get(zeros..).unwrap_or_default();
            element.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
            element.extend_from_slice(bytes);
        }
    }
    parts.iter().for_each(|part| element.extend_from_slice(part));
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_byte_too_many_and_no_sign() {
        for (number, der) in [
            (&[][..], &[2, 1, 0][..]),
            (&[0, 0], &[2, 1, 0]),
            (&[0, 0x7f], &[2, 1, 0x7f]),
            (&[0x80], &[2, 2, 0, 0x80]),
            (&[0, 0, 0x80, 0], &[2, 3, 0, 0x80, 0]),
            (&[1, 0], &[2, 2, 1, 0]),
        ] {
            assert_eq!(unsigned(number), der, "{number:?}");
        }
    }

    #[test]
    fn lengths_take_as_few_bytes_as_they_can() {
        for (length, head) in [
            (0, &[0x30, 0][..]),
            (127, &[0x30, 127]),
            (128, &[0x30, 0x81, 128]),
            (255, &[0x30, 0x81, 255]),
            (256, &[0x30, 0x82, 1, 0]),
            (65536, &[0x30, 0x83, 1, 0, 0]),
        ] {
            let element = sequence(&[&vec![7; length]]);
            assert_eq!(element.strip_prefix(head), Some(vec![7; length].as_slice()), "{length}");
        }
    }
}
