//! Comparing bytes.
//!
//! What WebAssembly has for it (`memcmp`) goes byte by byte, at twenty instructions for each; names of header fields and
//! tokens are compared for every request.

/// Whether both are the same, many bytes at a time and without stopping at the first that differ.
pub fn are_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let difference = difference_by::<32>(left, right).or_else(|| difference_by::<8>(left, right));
    difference.map_or_else(|| left.iter().eq(right), |difference| difference == 0)
}

/// What tells two texts of one length apart, which is 0 where they are the same; `None` where they are shorter than the
/// part that is looked at in one step.
fn difference_by<const PART: usize>(left: &[u8], right: &[u8]) -> Option<u64> {
    let (left_end, right_end) = (left.last_chunk::<PART>()?, right.last_chunk::<PART>()?);
    let ((left, _), (right, _)) = (left.as_chunks::<PART>(), right.as_chunks::<PART>());
    // The end may have some of the part before it.
    let at_end = difference_of_part(left_end, right_end);
    Some(left.iter().zip(right).fold(at_end, |all, (left, right)| all | difference_of_part(left, right)))
}

/// Put together with `|`, and not compared one by one, these are a few instructions for each eight bytes: a comparison
/// would become one in the order of texts.
fn difference_of_part<const PART: usize>(left: &[u8; PART], right: &[u8; PART]) -> u64 {
    let ((left, _), (right, _)) = (left.as_chunks::<8>(), right.as_chunks::<8>());
    let words = left.iter().zip(right);
    words.fold(0, |all, (left, right)| all | (u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_same_bytes_are_the_same_and_no_others(
            bytes in prop::collection::vec(any::<u8>(), 0..70),
            at: prop::sample::Index,
            bit in 0..8_u8,
        ) {
            let mut others = bytes.clone();
            prop_assert!(are_same(&bytes, &others));
            if !bytes.is_empty() {
                others[at.index(bytes.len())] ^= 1 << bit;
                prop_assert!(!are_same(&bytes, &others));
                prop_assert!(!are_same(&bytes, &bytes[1..]));
            }
        }
    }
}
