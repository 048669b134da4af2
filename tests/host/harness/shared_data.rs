//! Shared data: the key-value store that all VMs of one process see.
//!
//! Takes keys, values and compare-and-swap numbers, answers as Envoy does: `0` sets always, another
//! number must match a key that is there but is ignored for one that is not, so that `u32::MAX`
//! means "create, do not replace". Other kinds of hosts answer otherwise. Clones are handles to one
//! store. Does not drop data when the last VM dies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::abi::{Fault, Status};

/// What a kind of host does when a guest asks for shared data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// There is none: `Unimplemented`.
    #[default]
    Absent,
    AsEnvoy,
    /// A compare-and-swap needs a value to compare with: an absent key is created by `0` alone.
    CreatesByZeroAlone,
    /// What is there can be read. Every write is answered with this number and does nothing.
    WritesAnswer(u32),
    /// Whatever is asked is answered with this number and not done.
    Answers(u32),
}

impl Sharing {
    pub fn may_read(self) -> Result<(), Fault> {
        match self {
            Self::Absent => Err(Status::Unimplemented.into()),
            Self::Answers(number) => Err(Fault::Number(number)),
            Self::AsEnvoy | Self::CreatesByZeroAlone | Self::WritesAnswer(_) => Ok(()),
        }
    }

    /// For a key that `is_present` and a write with this compare-and-swap number.
    pub fn may_write(self, is_present: bool, cas: u32) -> Result<(), Fault> {
        self.may_read()?;
        match self {
            Self::WritesAnswer(number) => Err(Fault::Number(number)),
            Self::CreatesByZeroAlone if cas != 0 && !is_present => Err(Status::CasMismatch.into()),
            _ => Ok(()),
        }
    }
}

/// A handle to one process's shared data.
#[derive(Clone, Debug, Default)]
pub struct SharedData(Rc<RefCell<Store>>);

#[derive(Debug, Default)]
struct Store {
    values: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    last_cas: u32,
    vms: u64,
}

impl SharedData {
    /// Another VM sees the data. Gives its number, no two of one process the same.
    pub fn enrol(&self) -> u64 {
        let mut store = self.0.borrow_mut();
        store.vms += 1;
        store.vms
    }

    /// All keys and their values, as they are now.
    pub fn entries(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let store = self.0.borrow();
        store.values.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    /// Another plugin, or an older version of this one, has left these values: each is set whatever was there.
    pub fn plant(&self, entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
        for (key, value) in entries {
            let planted = self.set(&key, &value, 0);
            planted.unwrap_or_else(|status| panic!("an unconditional write is answered {status:?}"));
        }
    }

    /// The data goes, as it does with the last VM of a `vm_id`.
    pub fn wipe(&self) {
        self.0.borrow_mut().values.clear();
    }

    /// The value and its compare-and-swap number.
    pub fn get(&self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.0.borrow().values.get(key).cloned()
    }

    pub fn set(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let mut store = self.0.borrow_mut();
        let present = store.values.get(key).map(|(_, cas)| *cas);
        if cas != 0 && present.is_some_and(|present| present != cas) {
            return Err(Status::CasMismatch);
        }
        store.last_cas += 1;
        let cas = store.last_cas;
        store.values.insert(key.to_vec(), (value.to_vec(), cas));
        Ok(())
    }
}
