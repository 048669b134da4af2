//! How long to wait: jitter and back-off.
//!
//! Takes seeds and bounds, gives pauses. Pauses are spread so that gateways which were started, or failed, at the same
//! time do not ask an identity provider at the same time. Deliberately no source of randomness: the seed is an argument.

use std::time::Duration;

/// The longest pause between failed fetches, unless the first one is longer.
pub const LONGEST_BACK_OFF: Duration = Duration::from_secs(64);

/// Numbers that differ between workers and gateways. Not fit for anything that must not be guessed.
#[derive(Clone, Debug)]
pub struct Jitter {
    state: u64,
    /// Whether pauses are as long as they may be.
    is_even: bool,
}

impl Jitter {
    /// The numbers that follow from `seed`.
    pub const fn from_seed(seed: u64) -> Self {
        Self { state: seed, is_even: false }
    }

    /// The same numbers, but every pause is as long as it may be.
    pub const fn even(seed: u64) -> Self {
        Self { state: seed, is_even: true }
    }

    /// Another sequence that differs from this one.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self { state: self.next(), is_even: self.is_even }
    }

    /// A pause from zero up to `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let [part, ..] = self.next().to_le_bytes();
        if self.is_even { Duration::ZERO } else { (most / 256).saturating_mul(part.into()) }
    }

    /// The next number (Vigna, splitmix64).
    pub const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The pause after so many failures before this one: doubled each time, between half and all of it.
pub fn back_off(first: Duration, failures: u32, jitter: &mut Jitter) -> Duration {
    let longest = LONGEST_BACK_OFF.max(first);
    let pause = first.saturating_mul(1 << failures.min(16)).min(longest);
    pause.saturating_sub(jitter.up_to(pause / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_back_off_doubles_up_to_its_bound_and_is_spread_over_its_second_half() {
        let first = Duration::from_secs(1);
        let pauses = (0..9).map(|failures| back_off(first, failures, &mut Jitter::even(7)).as_secs());
        assert_eq!(pauses.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64, 64, 64]);

        let mut jitter = Jitter::from_seed(7);
        let spread: Vec<_> = (0..100).map(|_| back_off(first, 3, &mut jitter)).collect();
        let (least, most) = (spread.iter().min().unwrap(), spread.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(4) && *most <= Duration::from_secs(8));
        assert!(*most - *least > Duration::from_secs(3), "{least:?} to {most:?}");
    }

    #[test]
    fn a_first_pause_above_the_bound_is_kept() {
        let first = Duration::from_secs(100);
        assert_eq!(back_off(first, 0, &mut Jitter::even(7)), first);
        assert_eq!(back_off(first, 40, &mut Jitter::even(7)), first);
    }

    #[test]
    fn two_workers_do_not_wait_equally_long() {
        let mut jitter = Jitter::from_seed(7);
        let (mut one, mut other) = (jitter.split(), jitter.split());
        let most = Duration::from_secs(256);
        let pairs: Vec<_> = (0..8).map(|_| (one.up_to(most), other.up_to(most))).collect();
        assert!(pairs.iter().any(|(one, other)| one != other), "{pairs:?}");
    }
}
