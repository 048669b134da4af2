//! Where workers share what they know: bytes under a name, with compare-and-swap.
//!
//! The port that a host's shared data is behind. Deliberately without errors: a host whose shared data fails is a host
//! without, and [`LocalSpace`] is what it gets instead.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// Which writing of a value this is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version(pub u32);

/// Values that others may read and write at any time between two calls.
pub trait SharedSpace: Debug {
    /// The value of this name.
    fn get(&mut self, name: &str) -> Option<(Vec<u8>, Version)>;

    /// Writes a value if the one that is there is still the version `replaces`, or if there is none. Whether it was
    /// written.
    fn put(&mut self, name: &str, value: &[u8], replaces: Option<Version>) -> bool;

    /// Whether anybody else can be there.
    fn is_shared(&self) -> bool;
}

/// The most values that are kept where they are not a host's: more than anybody has key servers.
const MOST_VALUES: usize = 256;

/// A space within this program, for whoever is handed it.
#[derive(Debug, Default)]
pub struct LocalSpace {
    values: BTreeMap<String, (Vec<u8>, Version)>,
    last: u32,
}

impl LocalSpace {
    /// Makes room for one more: what was written longest ago goes.
    fn make_room(&mut self) {
        if self.values.len() >= MOST_VALUES {
            let oldest = self.values.iter().min_by_key(|(_, (_, version))| *version);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.map(|name| self.values.remove(&name));
        }
    }
}

impl SharedSpace for LocalSpace {
    fn get(&mut self, name: &str) -> Option<(Vec<u8>, Version)> {
        self.values.get(name).cloned()
    }

    fn put(&mut self, name: &str, value: &[u8], replaces: Option<Version>) -> bool {
        let present = self.values.get(name).map(|(_, version)| *version);
        if present.is_some() && present != replaces {
            return false;
        }
        if present.is_none() {
            self.make_room();
        }
        self.last = self.last.wrapping_add(1);
        self.values.insert(name.to_owned(), (value.to_vec(), Version(self.last)));
        true
    }

    fn is_shared(&self) -> bool {
        false
    }
}
