//! What the workers of one process know together about one source of keys, and its form as bytes.
//!
//! One record holds all of it, so that one compare-and-swap changes all of it: who fetches, what came of it, and when
//! the next fetch may be. Takes bytes that any filter of the process may have written, so nothing in them is believed:
//! what does not parse is no record, times are held against the clock by the keeper, and the document is read like a
//! reply. The form is one line of JSON and the document behind it.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::{Discovery, Endpoint, JwksHost, KeyPlace, RemoteKeys};
use crate::jose::base64url;
use crate::jose::jwk::MAX_JWKS_BYTES;
use crate::keys::key_ids::AbsentKeyIds;
use crate::time::UnixTime;

/// Changes with the form, so that two versions of the filter in one process leave each other alone.
const FORMAT: u32 = 1;
/// The longest first line.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// What is known of one source of keys.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Who fetches.
    pub lease: Option<Lease>,
    /// When the next fetch may be.
    pub schedule: Schedule,
    /// What was fetched last.
    pub document: Option<Document>,
}

/// The right to fetch, until it is given back or expires.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The version of the record that it was written over: whoever wrote over that one has the lease.
    pub over: u32,
    /// When the fetch began.
    pub began: UnixTime,
    /// Until when, unless it is prolonged: a worker that has died gives nothing back.
    pub until: UnixTime,
}

/// What past fetches mean for the next one.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Failures since the last success.
    pub failures: u32,
    /// When the first of these was.
    pub failing_since: Option<UnixTime>,
    /// No fetch before this time.
    pub not_before: Option<UnixTime>,
    /// No fetch for key ids that are not known before this time.
    pub key_ids_not_before: Option<UnixTime>,
    /// How many fetches for key ids have been given up by those who made them since the last success.
    pub abandoned: u32,
    /// Key ids that were not found.
    pub absent: AbsentKeyIds,
    /// Where metadata said that the keys are.
    pub jwks_uri: Option<JwksUri>,
}

/// Where metadata said that the keys are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JwksUri {
    /// The URI.
    pub uri: String,
    /// When that was read.
    pub read_at: UnixTime,
}

/// A document of keys as it was fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// When it was asked for last.
    pub asked_at: UnixTime,
    /// When it was fetched, or last found unchanged.
    pub fetched_at: UnixTime,
    /// For how long it may be kept, by its server.
    pub max_age: Option<Duration>,
    /// What names this state of it.
    pub etag: Option<String>,
    /// Its bytes.
    pub body: Vec<u8>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    lease: Option<Lease>,
    schedule: Schedule,
    document: Option<DocumentHead>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct DocumentHead {
    asked_at: UnixTime,
    fetched_at: UnixTime,
    max_age: Option<u64>,
    etag: Option<String>,
    bytes: usize,
}

impl Record {
    /// The record in `bytes`, if that is what they are.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().take(MAX_HEAD_BYTES).position(|byte| *byte == b'\n')?;
        let (head, body) = bytes.split_at_checked(end)?;
        let body = body.get(1..)?;
        let Head { format, lease, mut schedule, document } = serde_json::from_slice(head).ok()?;
        schedule.absent.bound();
        let document = match document {
            None => None,
            Some(DocumentHead { bytes, .. }) if bytes != body.len() || bytes > MAX_JWKS_BYTES => return None,
            Some(DocumentHead { asked_at, fetched_at, max_age, etag, .. }) => Some(Document {
                asked_at,
                fetched_at,
                max_age: max_age.map(Duration::from_secs),
                etag,
                body: body.to_vec(),
            }),
        };
        (format == FORMAT).then_some(Self { lease, schedule, document })
    }

    /// The record as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let document = self.document.as_ref().map(|document| DocumentHead {
            asked_at: document.asked_at,
            fetched_at: document.fetched_at,
            max_age: document.max_age.map(|max_age| max_age.as_secs()),
            etag: document.etag.clone(),
            bytes: document.body.len(),
        });
        let Self { lease, ref schedule, .. } = *self;
        let head = Head { format: FORMAT, lease, schedule: schedule.clone(), document };
        // Nothing in it that JSON could not say; no bytes are no record.
        let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend(self.document.iter().flat_map(|document| &document.body));
        bytes
    }
}

/// The name of the record of these keys. It has a digest of all that decides which keys they are, and nothing of what
/// else is configured: a new configuration with the same source finds the record again, one with another does not.
pub fn name(remote: &RemoteKeys) -> String {
    let mut parts: Vec<&str> = Vec::new();
    match &remote.place {
        KeyPlace::Jwks(endpoint) => {
            parts.push("jwks");
            parts.extend(endpoint_parts(endpoint));
        }
        KeyPlace::Discovery(Discovery { issuer, metadata, fallback, jwks_hosts }) => {
            parts.extend(["discovery", issuer]);
            parts.extend([Some(metadata), fallback.as_ref()].into_iter().flatten().flat_map(endpoint_parts));
            parts.push("jwks_hosts");
            parts.extend(
                jwks_hosts
                    .iter()
                    .flat_map(|JwksHost { authority, cluster }| [authority, cluster])
                    .map(String::as_str),
            );
        }
    }
    let mut text = String::new();
    for part in parts {
        // With its length, so that no two lists of parts have the same text.
        let _ = write!(text, "{}:{part}", part.len());
    }
    format!("edge-authn/keys/{FORMAT}/{}", base64url::encode(&Sha256::digest(text)))
}

fn endpoint_parts(endpoint: &Endpoint) -> [&str; 4] {
    [endpoint.scheme, &endpoint.authority, &endpoint.path, &endpoint.cluster]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::key_ids::KeyIdDigest;

    fn record() -> Record {
        let now = UnixTime::from_secs(1_800_000_000);
        let mut schedule = Schedule { failures: 2, failing_since: Some(now), ..Schedule::default() };
        schedule.absent.note(KeyIdDigest::of("k"), now, Duration::from_secs(10));
        schedule.jwks_uri = Some(JwksUri { uri: "https://a/\n\"".to_owned(), read_at: now });
        let document = Document {
            asked_at: now,
            fetched_at: now,
            max_age: Some(Duration::from_secs(5)),
            etag: Some("\"e\"".to_owned()),
            body: b"{\n\"keys\": []}\n".to_vec(),
        };
        let lease = Some(Lease { over: u32::MAX, began: now, until: now });
        Record { lease, schedule, document: Some(document) }
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        for record in [record(), Record { document: None, ..record() }, Record::default()] {
            let back = Record::decode(&record.encode()).unwrap();
            assert_eq!(format!("{back:?}"), format!("{record:?}"));
        }
    }

    #[test]
    fn what_is_not_a_whole_record_is_none() {
        let bytes = record().encode();
        for length in 0..bytes.len() {
            assert!(Record::decode(&bytes[..length]).is_none(), "{length} bytes");
        }
        let more = [bytes.as_slice(), b" "].concat();
        let text = String::from_utf8(bytes).unwrap();
        for other in [
            more,
            b"\n".to_vec(),
            b"null\n".to_vec(),
            b"{}\n".to_vec(),
            vec![0xff; 100],
            text.replace("\"format\":1", "\"format\":2").into_bytes(),
            text.replace("\"failures\":2", "\"failures\":-2").into_bytes(),
            text.replace("\"failures\":2", "\"failures\":2,\"more\":1").into_bytes(),
            text.replace("\"format\"", &format!("\"x\":\"{}\",\"format\"", "x".repeat(MAX_HEAD_BYTES)))
                .into_bytes(),
        ] {
            assert!(Record::decode(&other).is_none(), "{}", String::from_utf8_lossy(&other));
        }
    }
}
