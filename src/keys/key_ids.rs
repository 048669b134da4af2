//! Key ids that were looked for and not found.
//!
//! Takes key ids from tokens that nobody has verified, gives whether they are worth another fetch. Bounded in number and
//! size: what is kept of a key id is a digest. Each time a key id is looked for in vain, the pause before it is looked
//! for again doubles, up to eight intervals, so that a client with an old token costs little, and a key id that someone
//! asks for before it exists is still found soon.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::jose::base64url;
use crate::time::UnixTime;

/// The most key ids that are remembered.
pub const MAX_ABSENT: usize = 64;
/// How often the pause is doubled.
const DOUBLINGS: u32 = 3;
const DIGEST_BYTES: usize = 12;

/// What is kept of a key id. Not one of another key id can be found at will.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyIdDigest(String);

impl KeyIdDigest {
    /// The digest of a key id.
    pub fn of(key_id: &str) -> Self {
        let digest = Sha256::digest(key_id);
        Self(base64url::encode(digest.get(..DIGEST_BYTES).unwrap_or_default()))
    }
}

/// The key ids that a provider did not have when it was asked.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AbsentKeyIds(Vec<Absent>);

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Absent {
    key_id: KeyIdDigest,
    /// How often it was looked for.
    times: u32,
    /// Until when it counts as absent.
    until: UnixTime,
}

impl AbsentKeyIds {
    /// Whether `key_id` is not to be looked for at `now`, with this interval between fetches for key ids.
    pub fn contains(&self, key_id: &KeyIdDigest, now: UnixTime, interval: Duration) -> bool {
        // One that lies further ahead than it can have been set was set by another clock.
        let furthest = now.after(longest(interval));
        self.0.iter().any(|absent| absent.key_id == *key_id && now < absent.until && absent.until <= furthest)
    }

    /// `key_id` was looked for in vain.
    pub fn note(&mut self, key_id: KeyIdDigest, now: UnixTime, interval: Duration) {
        self.0.retain(|absent| now < absent.until.after(longest(interval)));
        let known = self.0.extract_if(.., |absent| absent.key_id == key_id).next();
        let times = known.map(|absent| absent.times).unwrap_or_default();
        if self.0.len() >= MAX_ABSENT {
            let first = self.0.iter().map(|absent| absent.until).min();
            self.0.extract_if(.., |absent| Some(absent.until) == first).next();
        }
        let pause = interval.saturating_mul(1 << times.min(DOUBLINGS));
        self.0.push(Absent { key_id, times: times.saturating_add(1), until: now.after(pause) });
    }

    /// Leaves out what cannot have come from [`note`](Self::note).
    pub fn bound(&mut self) {
        self.0.truncate(MAX_ABSENT);
    }
}

const fn longest(interval: Duration) -> Duration {
    interval.saturating_mul(1 << DOUBLINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    #[test]
    fn the_pause_doubles_with_every_time_a_key_id_is_looked_for_in_vain() {
        let (mut absent, key_id) = (AbsentKeyIds::default(), KeyIdDigest::of("a"));
        let mut now = 1000;
        for pause in [10, 20, 40, 80, 80, 80] {
            absent.note(key_id.clone(), at(now), INTERVAL);
            assert!(absent.contains(&key_id, at(now + pause - 1), INTERVAL), "{pause}");
            assert!(!absent.contains(&key_id, at(now + pause), INTERVAL), "{pause}");
            assert!(!absent.contains(&KeyIdDigest::of("b"), at(now), INTERVAL));
            now += pause;
        }
        absent.note(KeyIdDigest::of("b"), at(now + 1000), INTERVAL);
        absent.note(key_id.clone(), at(now + 1000), INTERVAL);
        assert!(!absent.contains(&key_id, at(now + 1010), INTERVAL), "forgotten after long silence");
    }

    #[test]
    fn the_memory_is_bounded_and_the_newest_stay() {
        let mut absent = AbsentKeyIds::default();
        for index in 0..10_000 {
            let now = UnixTime::from_millis(1_000_000 + index);
            absent.note(KeyIdDigest::of(&index.to_string()), now, INTERVAL);
        }
        assert_eq!(absent.0.len(), MAX_ABSENT);
        let kept = |index: u64| absent.contains(&KeyIdDigest::of(&index.to_string()), at(1010), INTERVAL);
        assert!(kept(9999) && !kept(9000));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_hide_a_key_id_for_long() {
        let (mut absent, key_id) = (AbsentKeyIds::default(), KeyIdDigest::of("a"));
        absent.note(key_id.clone(), at(1_000_000), INTERVAL);
        assert!(!absent.contains(&key_id, at(0), INTERVAL));
    }
}
