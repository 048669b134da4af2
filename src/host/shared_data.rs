//! The host's shared data as a [`SharedSpace`].
//!
//! Found out by using it: a host that answers a call with anything but a value, "not found" or a conflict has none that
//! could be relied on, and a space of this VM's own takes its place from then on. All root contexts of the VM have that
//! one in common, so that keys outlive a configuration, and routes with configurations of their own (APISIX) share them.

use std::cell::RefCell;
use std::rc::Rc;

use crate::host::calls;
use crate::keys::{LocalSpace, SharedSpace, Version};

thread_local! {
    /// What root contexts of this VM share where VMs cannot.
    static LOCAL: Rc<RefCell<LocalSpace>> = Rc::default();
}

/// A version that no value has. Envoy ignores versions for a value that is not there, so writing over this one creates
/// and never replaces (proxy-wasm-cpp-host `shared_data.cc`).
const NO_VERSION: u32 = u32::MAX;

/// What VMs share, or what this one keeps where they cannot.
#[derive(Debug)]
pub(super) struct SharedData {
    local: Rc<RefCell<LocalSpace>>,
    /// Whether the host has none.
    is_local: bool,
}

impl Default for SharedData {
    fn default() -> Self {
        Self { local: LOCAL.try_with(Rc::clone).unwrap_or_default(), is_local: false }
    }
}

impl SharedData {
    /// Looks for it in this VM, from now on.
    fn locally<R>(&mut self, step: impl FnOnce(&mut LocalSpace) -> R) -> R {
        self.is_local = true;
        step(&mut self.local.borrow_mut())
    }
}

impl SharedSpace for SharedData {
    fn get(&mut self, name: &str) -> Option<(Vec<u8>, Version)> {
        if self.is_local {
            return self.locally(|local| local.get(name));
        }
        match calls::shared_data(name) {
            Ok(found) => found.map(|(value, version)| (value, Version(version))),
            Err(_) => self.locally(|local| local.get(name)),
        }
    }

    fn put(&mut self, name: &str, value: &[u8], replaces: Option<Version>) -> bool {
        if self.is_local {
            return self.locally(|local| local.put(name, value, replaces));
        }
        let version = replaces.map_or(NO_VERSION, |Version(version)| version);
        match calls::set_shared_data(name, value, version) {
            Ok(true) => true,
            // Another worker may have been faster. If none was, this host does not create values like that.
            Ok(false) if replaces.is_none() && matches!(calls::shared_data(name), Ok(None)) => {
                self.locally(|local| local.put(name, value, replaces))
            }
            Ok(false) => false,
            Err(_) => self.locally(|local| local.put(name, value, None)),
        }
    }

    /// In this VM by its other root contexts; the space itself has one reference, too.
    fn is_shared(&self) -> bool {
        !self.is_local || Rc::strong_count(&self.local) > 2
    }
}
