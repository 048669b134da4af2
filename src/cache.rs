//! Tokens that were good, and what was found out about them.
//!
//! Takes tokens that a provider's keys have verified and whose claims were in order, gives them back, parsed, when they
//! come again: the flow goes on as always, but without base64, JSON and signatures. Holds no verdict: the key that made
//! the signature must still be one that would be tried ([`recognise`](crate::verify::recognise) looks), and time,
//! audiences, rule and session are held against every request. Only good tokens come in, so made-up ones push nothing
//! out. Bounded by bytes, and for each provider by number; what was not used lately goes first, and for nothing but a
//! token that has come twice. One for each configuration and VM. Deliberately compares whole tokens, and keeps nothing by a digest or a part of one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::bytes::are_same;
use crate::config::{Config, JwtCache, ProviderId};
use crate::jose::token::{Spelling, UnverifiedToken};
use crate::verify::Proof;

/// The most memory that tokens and what is known of them may take in one VM, in bytes.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What an entry takes besides its texts, in bytes: the allocator's and the maps' share. So much that a VM that
/// is full of tokens has grown by less than what is accounted for.
const OVERHEAD: usize = 512;

/// How much of the end of a token entries are found by: more than is needed to tell signatures apart.
const TAIL: usize = 24;

/// A token that was good once.
#[derive(Debug)]
pub struct KnownToken {
    /// How its text was read.
    pub spelling: Spelling,
    /// What it says.
    pub token: UnverifiedToken<'static>,
    /// For whom it was good. No borrow outlives a function here; should one meet another, there is no proof, and the token
    /// is verified as if it came for the first time.
    proofs: RefCell<Vec<(ProviderId, Rc<Proof>)>>,
    /// The memory that all but the proofs takes, in bytes.
    own_bytes: usize,
    /// The memory that is accounted for, in bytes.
    accounted: Cell<usize>,
}

/// All of them.
#[derive(Debug)]
pub struct TokenCache {
    /// One for each provider, with the tokens that were good for it first.
    rings: Vec<Ring>,
    places: BTreeMap<Tail, Place>,
    bytes: usize,
    max_bytes: usize,
    came_once: CameOnce,
}

/// Tokens that came when there was no room, told by the end of their signatures; the place of one may be another's now.
/// Nothing hangs on it but who gets the next room.
#[derive(Debug, Default)]
struct CameOnce(Vec<u64>);

/// The last characters of a token, the end of its signature. What is found by them is compared as a whole.
type Tail = [u8; TAIL];

#[derive(Clone, Copy, Debug)]
struct Place {
    ring: ProviderId,
    slot: usize,
}

/// Entries in a circle, with a hand that looks for one to give up (the CLOCK algorithm).
#[derive(Debug)]
struct Ring {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    hand: usize,
    max_tokens: usize,
    max_token_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    known: Rc<KnownToken>,
    /// Whether it came, or came again, since the hand passed.
    was_used: Cell<bool>,
}

impl KnownToken {
    /// The whole token.
    pub fn text(&self) -> &str {
        self.token.compact.text()
    }

    /// Whether it was read with padding, which not everybody takes.
    pub fn is_padded(&self) -> bool {
        self.spelling == Spelling::Padded
    }

    /// What was found out about it when it was good for this provider.
    pub fn proof(&self, provider: ProviderId) -> Option<Rc<Proof>> {
        let proofs = self.proofs.try_borrow().ok()?;
        proofs.iter().find_map(|(known, proof)| (*known == provider).then(|| Rc::clone(proof)))
    }

    fn add(&self, provider: ProviderId, proof: Proof) {
        let Ok(mut proofs) = self.proofs.try_borrow_mut() else { return };
        proofs.retain(|(known, _)| *known != provider);
        proofs.push((provider, Rc::new(proof)));
    }

    fn bytes(&self) -> usize {
        let bytes = |(_, proof): &(ProviderId, Rc<Proof>)| size_of::<Proof>() + proof.heap_bytes();
        let proofs = self.proofs.try_borrow().map_or(0, |proofs| proofs.iter().map(bytes).sum());
        self.own_bytes + proofs
    }
}

impl TokenCache {
    /// An empty one for the providers of `config`.
    pub fn of(config: &Config) -> Self {
        Self::with_bytes(config, MAX_BYTES)
    }

    fn with_bytes(config: &Config, max_bytes: usize) -> Self {
        let ring = |cache: &JwtCache| Ring {
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            max_tokens: cache.max_tokens,
            max_token_bytes: cache.max_token_bytes,
        };
        let rings = config.providers.iter().map(|provider| ring(&provider.jwt_cache)).collect();
        Self { rings, places: BTreeMap::new(), bytes: 0, max_bytes, came_once: CameOnce::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The memory that they take, in bytes; at most [`MAX_BYTES`].
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is known of this token.
    pub fn get(&self, token: &[u8]) -> Option<Rc<KnownToken>> {
        let Place { ring, slot } = *self.places.get(&tail(token)?)?;
        let slot = self.rings.get(ring.0)?.slots.get(slot)?.as_ref()?;
        // Who finds out by the time that this takes how much of a token is right has known the end of its signature before.
        if !are_same(slot.known.text().as_bytes(), token) {
            return None;
        }
        slot.was_used.set(true);
        Some(Rc::clone(&slot.known))
    }

    /// Whether a token that was good for a provider is to be kept. Where there is no room, one that has come before is.
    pub fn has_room_for(&mut self, token: &str, provider: ProviderId) -> bool {
        let (Some(tail), Some(ring)) = (tail(token.as_bytes()), self.rings.get(provider.0)) else {
            return false;
        };
        if ring.max_tokens == 0 || token.len() > ring.max_token_bytes {
            return false;
        }
        // Who sends many tokens once each would push out those that come again, and pay for it.
        let is_full = ring.len() >= ring.max_tokens
            || self.bytes.saturating_add(OVERHEAD + 2 * token.len()) > self.max_bytes;
        !is_full || self.get(token.as_bytes()).is_some() || self.came_once.has_come(&tail)
    }

    /// Takes in that a token was good for a provider. Whether it is to be kept is asked of
    /// [`has_room_for`](Self::has_room_for) before.
    pub fn add(
        &mut self,
        token: &UnverifiedToken<'_>,
        spelling: Spelling,
        provider: ProviderId,
        proof: Proof,
    ) {
        let text = token.compact.text();
        let Some(tail) = tail(text.as_bytes()) else { return };
        if let Some(known) = self.get(text.as_bytes()) {
            known.add(provider, proof);
            return self.account(&known);
        }
        // Another token that ends alike.
        self.remove_at(tail);
        let token = token.to_owned();
        let known = KnownToken {
            spelling,
            own_bytes: OVERHEAD + token.heap_bytes(),
            token,
            proofs: RefCell::new(Vec::new()),
            accounted: Cell::new(0),
        };
        known.add(provider, proof);
        let known = Rc::new(known);
        let Some(slot) = self.rings.get_mut(provider.0).map(|ring| ring.insert(Rc::clone(&known))) else {
            return;
        };
        self.places.insert(tail, Place { ring: provider, slot });
        self.account(&known);
        while self.rings.get(provider.0).is_some_and(|ring| ring.len() > ring.max_tokens)
            && self.give_up_one_of(provider)
        {}
    }

    /// Forgets a token.
    pub fn remove(&mut self, token: &str) {
        if self.get(token.as_bytes()).is_some()
            && let Some(tail) = tail(token.as_bytes())
        {
            self.remove_at(tail);
        }
    }

    /// Takes note of how large an entry has become, and makes room.
    pub fn account(&mut self, known: &KnownToken) {
        let bytes = known.bytes();
        let before = known.accounted.get();
        // One that was given up meanwhile takes no room here.
        if bytes == before || !self.holds(known) {
            return;
        }
        known.accounted.set(bytes);
        self.bytes = (self.bytes + bytes).saturating_sub(before);
        while self.bytes > self.max_bytes {
            let fullest = self.rings.iter().enumerate().max_by_key(|(_, ring)| ring.len());
            let fullest = fullest.map(|(index, _)| ProviderId(index));
            if !fullest.is_some_and(|fullest| self.give_up_one_of(fullest)) {
                return;
            }
        }
    }

    fn holds(&self, known: &KnownToken) -> bool {
        let place = tail(known.text().as_bytes()).and_then(|tail| self.places.get(&tail));
        let slot = place.and_then(|place| self.rings.get(place.ring.0)?.slots.get(place.slot)?.as_ref());
        slot.is_some_and(|slot| std::ptr::eq(Rc::as_ptr(&slot.known), known))
    }

    /// Whether there was one: no loop goes on without.
    fn give_up_one_of(&mut self, provider: ProviderId) -> bool {
        let victim = self.rings.get_mut(provider.0).and_then(Ring::next_victim);
        victim.and_then(|known| tail(known.text().as_bytes())).is_some_and(|tail| self.remove_at(tail))
    }

    /// Whether there was something.
    fn remove_at(&mut self, tail: Tail) -> bool {
        let Some(Place { ring, slot }) = self.places.remove(&tail) else { return false };
        let removed = self.rings.get_mut(ring.0).and_then(|ring| ring.remove(slot));
        self.bytes = self.bytes.saturating_sub(removed.as_ref().map_or(0, |known| known.accounted.get()));
        removed.is_some()
    }
}

impl CameOnce {
    /// Room for as many as come while a token that is in use comes again, in 32 KiB.
    const PLACES: u64 = 4093;

    /// Whether it has come before; it has from now on.
    fn has_come(&mut self, tail: &Tail) -> bool {
        // Six bits of each character are a digit of the signature.
        let digest = tail.iter().fold(0, |digest: u64, byte| digest.rotate_left(6) ^ u64::from(*byte));
        if self.0.is_empty() {
            self.0 = vec![0; usize::try_from(Self::PLACES).unwrap_or_default()];
        }
        let index = usize::try_from(digest % Self::PLACES).unwrap_or_default();
        self.0.get_mut(index).is_some_and(|place| std::mem::replace(place, digest) == digest)
    }
}

impl Ring {
    const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn insert(&mut self, known: Rc<KnownToken>) -> usize {
        let slot = Some(Slot { known, was_used: Cell::new(true) });
        match self.free.pop().and_then(|index| Some((index, self.slots.get_mut(index)?))) {
            Some((index, free)) => {
                *free = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    fn remove(&mut self, index: usize) -> Option<Rc<KnownToken>> {
        let removed = self.slots.get_mut(index)?.take()?;
        self.free.push(index);
        Some(removed.known)
    }

    /// The first one behind the hand that was not used since the hand passed it last.
    fn next_victim(&mut self) -> Option<Rc<KnownToken>> {
        // The first time round it may find all of them used.
        for _ in 0..=self.slots.len().saturating_mul(2) {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            match self.slots.get_mut(self.hand) {
                Some(Some(slot)) if slot.was_used.get() => slot.was_used.set(false),
                Some(Some(slot)) => return Some(Rc::clone(&slot.known)),
                Some(None) | None => {}
            }
        }
        None
    }
}

/// `None` for what is too short to be a signed token.
fn tail(token: &[u8]) -> Option<Tail> {
    token.last_chunk().copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::jose::base64url;
    use crate::jose::token::CompactToken;
    use crate::request::HeaderEdit;

    /// So little that tokens push each other out.
    const FEW_BYTES: usize = 9_000;

    fn cache() -> TokenCache {
        let keys = r#""remote_jwks":{"http_uri":{"uri":"https://a/","cluster":"a"}}"#;
        let provider = |extra: &str| format!("{{{keys}{extra}}}");
        let text = format!(
            r#"{{"providers":{{"a":{},"b":{},"c":{}}}}}"#,
            provider(""),
            provider(r#","jwt_cache_config":{"jwt_cache_size":3}"#),
            provider(r#","jwt_cache_config":{"jwt_cache_size":0}"#),
        );
        TokenCache::with_bytes(&Config::parse(text.as_bytes(), &|_| None).unwrap(), FEW_BYTES)
    }

    /// The token of this number; of two numbers with the same rest by 10, the tokens end alike.
    fn token(number: u8) -> String {
        let payload = format!(r#"{{"n":{number},"x":"{}"}}"#, "x".repeat(usize::from(number) * 20));
        let signature = [[number; 16].as_slice(), &[number % 10; 18]].concat();
        let parts = [r#"{"alg":"HS256"}"#.as_bytes(), payload.as_bytes(), &signature];
        parts.map(base64url::encode).join(".")
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add {
            number: u8,
            provider: usize,
            audience: usize,
        },
        Use {
            number: u8,
        },
        /// Something is made of what was found out, which was held since it was used.
        Make {
            held: usize,
            provider: usize,
            bytes: usize,
        },
        Remove {
            number: u8,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = 0..30_u8;
        prop_oneof![
            4 => (number.clone(), 0..3_usize, 0..600_usize)
                .prop_map(|(number, provider, audience)| Step::Add { number, provider, audience }),
            3 => number.clone().prop_map(|number| Step::Use { number }),
            3 => (0..4_usize, 0..3_usize, 0..12_000_usize)
                .prop_map(|(held, provider, bytes)| Step::Make { held, provider, bytes }),
            1 => number.prop_map(|number| Step::Remove { number }),
        ]
    }

    /// Takes stock of all that is there.
    fn check(cache: &TokenCache) {
        let slots = || cache.rings.iter().flat_map(|ring| ring.slots.iter().flatten());
        assert_eq!(slots().map(|slot| slot.known.bytes()).sum::<usize>(), cache.bytes);
        assert!(slots().all(|slot| slot.known.accounted.get() == slot.known.bytes()));
        assert!(cache.bytes <= FEW_BYTES);
        assert_eq!(slots().count(), cache.len());
        for (tail, Place { ring, slot }) in &cache.places {
            let known = &cache.rings[ring.0].slots[*slot].as_ref().unwrap().known;
            assert!(known.text().as_bytes().ends_with(tail));
        }
        for ring in &cache.rings {
            assert!(ring.len() <= ring.max_tokens);
            let free: BTreeSet<_> = ring.free.iter().copied().collect();
            let empty = ring.slots.iter().enumerate().filter(|(_, slot)| slot.is_none());
            assert_eq!(empty.map(|(index, _)| index).collect::<BTreeSet<_>>(), free);
            assert_eq!(free.len(), ring.free.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_accounted_for_is_what_is_there(steps in prop::collection::vec(step(), 1..80)) {
            let mut cache = cache();
            let mut held: Vec<Rc<KnownToken>> = Vec::new();
            for step in steps {
                match step {
                    Step::Add { number, provider, audience } => {
                        let text = token(number);
                        let compact = CompactToken::decode(&text).unwrap();
                        let proof = Proof::for_test(vec!["a".repeat(audience)]);
                        cache.add(&compact.parse().unwrap(), Spelling::Standard, ProviderId(provider), proof);
                    }
                    Step::Use { number } => {
                        let known = cache.get(token(number).as_bytes());
                        prop_assert!(known.iter().all(|known| known.text() == token(number)));
                        held.extend(known);
                    }
                    Step::Make { held: at, provider, bytes } => {
                        let Some(known) = held.iter().rev().nth(at) else { continue };
                        if let Some(proof) = known.proof(ProviderId(provider)) {
                            let value = "v".repeat(bytes);
                            proof.headers.get_or_init(|| [HeaderEdit::replace("x", value.as_str())].into());
                            proof.exported.get_or_init(|| value.into());
                        }
                        cache.account(known);
                    }
                    Step::Remove { number } => cache.remove(&token(number)),
                }
                check(&cache);
            }
        }
    }
}
