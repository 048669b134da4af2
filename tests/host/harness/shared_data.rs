//! Shared data: the key-value store that all VMs of one process see.
//!
//! Takes keys, values and compare-and-swap numbers, answers as Envoy does: `0` sets always, another
//! number must match a key that is there but is ignored for one that is not, so that `u32::MAX`
//! means "create, do not replace". Clones are handles to one store. Does not drop data when the
//! last VM dies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::abi::Status;

/// A handle to one process's shared data.
#[derive(Clone, Debug, Default)]
pub struct SharedData(Rc<RefCell<Store>>);

#[derive(Debug, Default)]
struct Store {
    values: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    last_cas: u32,
}

impl SharedData {
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
