//! Signatures that the host verifies, with its foreign function `verify_signature`: what it is asked, what its answers
//! mean, and whether it can be believed.
//!
//! Takes the configuration and a way to call the function; gives a [`SignatureVerifier`]. Before a host is asked about
//! tokens it has to tell a signature that is known to be good from one that is not, algorithm by algorithm. Whatever it
//! says later that it did not say then means nothing: such a signature is verified here, and counted. Deliberately keeps
//! no answer, and never asks about `PS*`, `EdDSA` and `HS*`, which Envoy's function does not have, nor about `ES512`,
//! which is faster here.

use std::cell::RefCell;
use std::fmt;

use crate::config::{Config, ConfigError, Crypto};
use crate::jose::algorithm::{Algorithm, SignatureVerifier};
use crate::jose::base64url;

/// Calls `verify_signature` with an argument: its result, or why there is none.
pub type VerifySignature = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, String>>;

/// A host that verifies signatures.
pub struct HostCrypto {
    call: VerifySignature,
    /// The algorithms that it can be asked about, with its words for a signature that is not good.
    fit: Vec<(Algorithm, Vec<u8>)>,
    unfit: Vec<(Algorithm, Unfit)>,
    failures: RefCell<Vec<Algorithm>>,
}

/// Why a host is not asked about signatures of an algorithm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unfit {
    /// It does not take a good signature for good, or not by one answer.
    Refuses,
    /// It takes a bad signature for good, or gives no answer to it.
    Accepts,
    /// It has no answer.
    Silent {
        /// Why.
        reason: String,
    },
}

/// What the host has said.
#[derive(Debug, Eq, PartialEq)]
struct Answer {
    is_good: bool,
    words: Vec<u8>,
}

/// A signature that is good.
struct KnownAnswer {
    algorithm: Algorithm,
    /// The name of its hash for the host.
    hash: &'static str,
    /// The `SubjectPublicKeyInfo` in base64url.
    key: &'static str,
    /// The signature in base64url.
    signature: &'static str,
}

/// What Envoy takes twice as long for as this program (`make bench-crypto`), and is not asked about.
const FASTER_HERE: Algorithm = Algorithm::Es512;

/// What has been signed.
const KNOWN_TEXT: &[u8] = b"a signature that is known";
/// What has not.
const OTHER_TEXT: &[u8] = b"a signature that is knowN";

/// One for each algorithm that a host may be asked about. Made by OpenSSL 3 from keys that were thrown away:
/// `openssl genpkey`, `openssl pkey -pubout -outform DER`, `openssl dgst -sha256 -sign`.
const KNOWN: [KnownAnswer; 6] = [
    KnownAnswer { algorithm: Algorithm::Rs256, hash: "sha256", key: RSA_KEY, signature: RS256 },
    KnownAnswer { algorithm: Algorithm::Rs384, hash: "sha384", key: RSA_KEY, signature: RS384 },
    KnownAnswer { algorithm: Algorithm::Rs512, hash: "sha512", key: RSA_KEY, signature: RS512 },
    KnownAnswer { algorithm: Algorithm::Es256, hash: "sha256", key: P256_KEY, signature: ES256 },
    KnownAnswer { algorithm: Algorithm::Es384, hash: "sha384", key: P384_KEY, signature: ES384 },
    KnownAnswer { algorithm: Algorithm::Es512, hash: "sha512", key: P521_KEY, signature: ES512 },
];

impl HostCrypto {
    /// The host behind `call`, held against what the configuration may ask of it; `None` when it is not to be asked.
    ///
    /// # Errors
    ///
    /// When the configuration asks for a host that can do all of it, and this one cannot.
    pub fn of(config: &Config, call: VerifySignature) -> Result<Option<Self>, ConfigError> {
        if config.crypto == Crypto::Wasm {
            return Ok(None);
        }
        let allowed = config.providers.iter().flat_map(|provider| &provider.algorithms).copied();
        let algorithms: Vec<_> = allowed.filter(|algorithm| *algorithm != FASTER_HERE).collect();
        let host = Self::probe(call, &algorithms);
        match (config.crypto, host.unfit.first()) {
            (Crypto::Host, Some((algorithm, reason))) => Err(ConfigError {
                path: "crypto".to_owned(),
                found: format!("\"host\" on a host that cannot be used for {}: {reason}", algorithm.name()),
                expected: "\"auto\" or \"wasm\", or \"algorithms\" of providers that it can be used for"
                    .to_owned(),
            }),
            _ => Ok(Some(host)),
        }
    }

    /// The host behind `call`, held against known answers for these algorithms.
    pub fn probe(call: VerifySignature, algorithms: &[Algorithm]) -> Self {
        let failures = RefCell::default();
        let mut host = Self { call, fit: Vec::new(), unfit: Vec::new(), failures };
        for known in KNOWN.iter().filter(|known| algorithms.contains(&known.algorithm)) {
            match host.words_for_bad(known) {
                Ok(words) => host.fit.push((known.algorithm, words)),
                Err(reason) => host.unfit.push((known.algorithm, reason)),
            }
        }
        host
    }

    /// The algorithms that this host cannot be asked about, among those that it was probed for.
    pub fn unfit(&self) -> &[(Algorithm, Unfit)] {
        &self.unfit
    }

    /// The signatures that it had no answer to since this was last asked, by their algorithms.
    pub fn take_failures(&self) -> Vec<Algorithm> {
        self.failures.try_borrow_mut().map(|mut failures| std::mem::take(&mut *failures)).unwrap_or_default()
    }

    /// How it says that a signature is not good, if it can tell.
    fn words_for_bad(&self, known: &KnownAnswer) -> Result<Vec<u8>, Unfit> {
        let [key, signature] =
            [known.key, known.signature].map(|text| base64url::decode(text.as_bytes()).unwrap_or_default());
        let ask = |text| self.ask(known.hash, &key, text, &signature);
        match ask(KNOWN_TEXT).map_err(|reason| Unfit::Silent { reason })? {
            Some(answer) if answer.is_clearly_good() => {}
            _ => return Err(Unfit::Refuses),
        }
        match ask(OTHER_TEXT).map_err(|reason| Unfit::Silent { reason })? {
            Some(Answer { is_good: false, words }) => Ok(words),
            _ => Err(Unfit::Accepts),
        }
    }

    /// What it says; `None` when that has no form.
    fn ask(&self, hash: &str, key: &[u8], text: &[u8], signature: &[u8]) -> Result<Option<Answer>, String> {
        (self.call)(&argument(hash, key, text, signature)).map(|result| Answer::parse(&result))
    }
}

impl SignatureVerifier for HostCrypto {
    fn verifies(
        &self,
        algorithm: Algorithm,
        key: &[u8],
        signing_input: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let (_, words_for_bad) = self.fit.iter().find(|(fit, _)| *fit == algorithm)?;
        let hash = KNOWN.iter().find(|known| known.algorithm == algorithm)?.hash;
        match self.ask(hash, key, signing_input, signature) {
            Ok(Some(answer)) if answer.is_clearly_good() => Some(true),
            Ok(Some(Answer { is_good: false, words })) if words == *words_for_bad => Some(false),
            _ => {
                // Nobody else holds it; if somebody did, one would not be counted.
                if let Ok(mut failures) = self.failures.try_borrow_mut() {
                    failures.push(algorithm);
                }
                None
            }
        }
    }
}

/// Without the way to call it, which shows nothing.
impl fmt::Debug for HostCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fit, unfit, .. } = self;
        f.debug_struct("HostCrypto").field("fit", fit).field("unfit", unfit).finish_non_exhaustive()
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuses => f.write_str("it does not verify a good signature"),
            Self::Accepts => f.write_str("it does not refuse a bad signature"),
            Self::Silent { reason } => f.write_str(reason),
        }
    }
}

/// A `VerifySignatureArguments` of Envoy (`source/extensions/common/wasm/ext/verify_signature.proto`): the fields
/// `hash_function`, `public_key`, `signature` and `text` in the encoding of protocol buffers, each with its length.
fn argument(hash: &str, key: &[u8], text: &[u8], signature: &[u8]) -> Vec<u8> {
    let fields = [(0x0a, hash.as_bytes()), (0x12, key), (0x1a, signature), (0x22, text)];
    let size: usize = fields.iter().map(|(_, value)| value.len().saturating_add(11)).sum();
    let mut argument = Vec::with_capacity(size);
    for (tag, value) in fields {
        argument.push(tag);
        let mut length = value.len();
        while length > 0x7f {
            argument.push(0x80 | u8::try_from(length & 0x7f).unwrap_or_default());
            length >>= 7;
        }
        argument.push(u8::try_from(length).unwrap_or_default());
        argument.extend_from_slice(value);
    }
    argument
}

impl Answer {
    /// A `VerifySignatureResult`: the fields `result` and `error`, which are left out when they are false and empty.
    /// `None` for anything else.
    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut answer = Self { is_good: false, words: Vec::new() };
        if let Some(rest) = bytes.strip_prefix(&[0x08]) {
            let (is_good, rest) = rest.split_first()?;
            answer.is_good = match is_good {
                0 => false,
                1 => true,
                _ => return None,
            };
            bytes = rest;
        }
        if let Some(rest) = bytes.strip_prefix(&[0x12]) {
            let (length, words) = take_number(rest)?;
            if length != words.len() {
                return None;
            }
            answer.words = words.to_vec();
            bytes = &[];
        }
        bytes.is_empty().then_some(answer)
    }

    /// Whether it says nothing but that the signature is good.
    const fn is_clearly_good(&self) -> bool {
        self.is_good && self.words.is_empty()
    }
}

/// A length of at most three bytes, seven bits each with the lowest first, and what stands behind it.
fn take_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    let mut rest = bytes;
    for shift in [0, 7, 14] {
        let (byte, behind) = rest.split_first()?;
        number |= usize::from(byte & 0x7f) << shift;
        rest = behind;
        if *byte < 0x80 {
            return Some((number, rest));
        }
    }
    None
}

const RSA_KEY: &str = concat!(
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAp2qKjfrRa0ff5a6o6s45JyHcmzRUXa7QpEDht5_C-8ItYUb41M3Xojiw",
    "UjUKvQMTNcp8HbRH_Jieo5S5Qo_g0IfFoDYlJsYuItepwr5J7D5UsBsPWMZuHdJ3fIswqPBgDTvXvpf2L3XQE3dm6SPoTvxtClUf",
    "Chqaa2rSsd2_U9yD4YkneZtQhsAlpikKklcGqZJHOZJliRWw6Zp2oBWElEehz4FfU0BXWIJl1-GRzXv8JF0dfxe1jnkcrwWv5jOK",
    "gj94ctNcIac5e69MmaiGv1b_GNVwmOO3kBYIgEutj5OOD63eVOQjEbDY_l0HdS6K1WyZNzcJKk71CiNZsjNSxQIDAQAB",
);
const P256_KEY: &str = concat!(
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3oOEfnCXXF1Ftj-sX6lslMsyGfNmgkooVfUC7f6cLTgD6DX0GujxEjckcAG7u2X_",
    "1JFKDQMy1B7WAN34qJIFoA",
);
const P384_KEY: &str = concat!(
    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEyso-gbVJDYgJ0Xmbuh9-BCbdsQ5SJPp71LbVwRHlGmPuYkisGUTb4oTvyITo4A8oVf0D",
    "9JO8fbygqhjK1jXKJqtCuOTOqDUJVU3xK8mmzGGJKQaWtHCByJ4jZrnTD7qc",
);
const P521_KEY: &str = concat!(
    "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBfs2sNZ6XopC_noAsjPIIOvw9yunmQ3uLN4s3Nrls2HMaCP79CC4moyueGuHopsUE",
    "nHQorNfkjIRun_vk8_DA85oBtU5tVWzkJMXwyZjttTknMUJppuWyVe9CCsl0RK1eu05mpY_VvrK7aajCnmWjDX4Z-dALlNFqzhaW",
    "ybVST9TsIa0",
);
const RS256: &str = concat!(
    "i4FU8u4iJLekG_i2NKVkUMRPcvib_-Du2Nu6EAOTY81CuRDL0l3Kh9wsOb8SA7E9w5kwVDF_3hRMSfGs_5UdJnRzAP1X1DogRP95",
    "I-vdf-uLsqKEj6_D3UHTcFxcaTrxoF2GO256wDFpPoFeU-tTHbiNJxte31mja7j4s4AxoIhFGUs_OqPidkQh2VYcp5K4or3amcLB",
    "IbA9xW4Xn01I8NINJWkub8gP_tcd1uiN3L3XgtgRBFUpFSsPLXT4kotproe5ltxR4L0QXueET0fBeLgjvf0LWZjVyszdecYv8nfy",
    "CnFV5trJtI0n9KDF5OQlt15H7VgpoLXYDzUL7aaDPA",
);
const RS384: &str = concat!(
    "jM48GZqkFEyTMGYp6AK0HnnXQ9B_Iy0DfbR8z7kR62ACq6x-wi6x-eq-pkQaHuZu9V7GV7uLTsRCzBqNj1brkvujUiQfvHfvafYs",
    "zuI8jblmR54tc93ibBYqn91immEkNuxNx1CsLhw41O6JgljrtxrI5SZKBFWh9FFOxnw51xvTgOw70DMnR9zXVnhm8JiE8RRmx15H",
    "VXvhX8pdUHoUCWkg-M7VYb7nydWmOPmEt8kPCxSuBoSCEAX0DG7y_EKmEvRHagIsqyWdraOIhKROflnnRd8ZugyK909PDq2GDQJB",
    "_SLBp9x9ep8GvFzNk31wgoMa5ByAW_1208pQfZ8jVA",
);
const RS512: &str = concat!(
    "EIGy70uh5wMZE0YrGj48W_ScmAdo_XFZ1dAM-_DotZwvkYH2EEhujGXz1dYVnlM-FFOzNfteRI1cluIaEKeTQ6Fr05FcBsTIOHnk",
    "Z-pEkcKXqOlHHGd8bXe3V4bXbhpndMl7jxfI1cF5wZIHoY1oenS2llWsn6SX-Rkcxd-w1Zqb5OBQ4yZNrTsL2ZyoZE16IeNHs88-",
    "P9sc2hUdta-AYGofi8oX7aJOhkJIlP6lYKKH5h3SKj0jGMQhLHqFgOQ9tK_8BAPHIohmh6KUpyWXn59YLHgaeV-3rhKSRtZPAzEX",
    "94jFF1KPUkQtD6BnfIDtE519tXFR1HtlRUHp5ZRaEg",
);
const ES256: &str =
    "MEQCIHkp8DyCOwHmGfH6TX4IDuydCNXcjliQQ3JQ-x2_FdkAAiBB3_0nQ-0JqNRvxPWQ-8rXNwuPJaxkqfNJ9wLEYIyzjg";
const ES384: &str = concat!(
    "MGUCMD9ubBt6bH3D8jgvkMIB6uekRFZVlu3BKlamQUGHAgkth4gohwzcIu4EzltYePhazwIxALLSgLK1Z7BJDEw-KNOBk8fOaJ5u",
    "u_x9sgb3u_1yG3BVurNL1fKlf-3xcvDZtBbxCg",
);
const ES512: &str = concat!(
    "MIGHAkEV-GopHGl7RvVmQmqEPoeeO1g241h4ZhyZ2V_-KcicBbZ8zPmRrjL0Pjn3Hee3bqkqvSPdvNnXjGuZaeL_gVSQhgJCAN-0",
    "PiouPtReHgoJ1rFdQ_PzaTt2WaYmby4-lDXLz9ZylvK76DwfWlc9S0N_OXMJpWPkLV85ea6nOhVopttV1SjL",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::public_key;

    #[test]
    fn the_known_answers_are_good_and_the_others_are_not() {
        for KnownAnswer { algorithm, key, signature, .. } in KNOWN {
            let [key, signature] = [key, signature].map(|text| base64url::decode(text.as_bytes()).unwrap());
            let key = public_key::from_pem_block("PUBLIC KEY", &key).unwrap();
            let size = match algorithm {
                Algorithm::Es256 => 32,
                Algorithm::Es384 => 48,
                Algorithm::Es512 => 66,
                _ => 0,
            };
            let signature = if size == 0 { signature } else { plain(&signature, size) };
            assert!(key.verify(algorithm, KNOWN_TEXT, &signature), "{algorithm:?}");
            assert!(!key.verify(algorithm, OTHER_TEXT, &signature), "{algorithm:?}");
        }
    }

    /// The numbers of a signature in DER in full length.
    fn plain(der: &[u8], size: usize) -> Vec<u8> {
        let start = if der[1] < 0x80 { 2 } else { 3 };
        let (r, rest) = der[start + 2..].split_at(der[start + 1].into());
        [r, &rest[2..]].iter().flat_map(|number| in_length(number, size)).collect()
    }

    fn in_length(number: &[u8], size: usize) -> Vec<u8> {
        let surplus = number.len().saturating_sub(size);
        [vec![0; size.saturating_sub(number.len())], number[surplus..].to_vec()].concat()
    }

    #[test]
    fn an_argument_is_what_protocol_buffers_make_of_it() {
        let text = vec![b't'; 300];
        let expected = [b"\x0a\x06sha256\x12\x01k\x1a\x01s\x22\xac\x02".as_slice(), &text].concat();
        assert_eq!(argument("sha256", b"k", &text, b"s"), expected);
    }

    #[test]
    fn only_an_answer_of_the_one_form_is_one() {
        let answer = |is_good, words: &str| Some(Answer { is_good, words: words.as_bytes().to_vec() });
        let long = [&[0x12, 0x80, 0x01], [b'x'; 128].as_slice()].concat();
        for (bytes, expected) in [
            (&[][..], answer(false, "")),
            (&[8, 0], answer(false, "")),
            (&[8, 1], answer(true, "")),
            (b"\x12\x02no", answer(false, "no")),
            (b"\x08\x01\x12\x02no", answer(true, "no")),
            (&long, answer(false, &"x".repeat(128))),
            (&[8], None),
            (&[8, 2], None),
            (&[8, 0x81, 0], None),
            (&[8, 1, 8, 1], None),
            (b"\x12\x02n", None),
            (b"\x12\x02noo", None),
            (b"\x12\x02no\x08\x01", None),
            (&[0x12], None),
            (&[0x12, 0xff, 0xff, 0xff, 0xff], None),
            (&[0x18, 1], None),
            (b"true", None),
        ] {
            assert_eq!(Answer::parse(bytes), expected, "{bytes:?}");
        }
    }
}
