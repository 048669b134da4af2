//! The host's shared data as a [`SharedSpace`].
//!
//! Found out by using it: a host that answers a call with anything but a value, "not found" or a conflict has none that
//! could be relied on, and a space of this VM's own takes its place from then on.

use crate::host::calls;
use crate::keys::{LocalSpace, SharedSpace, Version};

/// A version that no value has. Envoy ignores versions for a value that is not there, so writing over this one creates
/// and never replaces (proxy-wasm-cpp-host `shared_data.cc`).
const NO_VERSION: u32 = u32::MAX;

/// What VMs share, or what this one keeps where they cannot.
#[derive(Debug, Default)]
pub(super) struct SharedData {
    local: Option<LocalSpace>,
}

impl SharedData {
    fn give_up(&mut self) -> &mut LocalSpace {
        self.local.get_or_insert_default()
    }
}

impl SharedSpace for SharedData {
    fn get(&mut self, name: &str) -> Option<(Vec<u8>, Version)> {
        if let Some(local) = &mut self.local {
            return local.get(name);
        }
        match calls::shared_data(name) {
            Ok(found) => found.map(|(value, version)| (value, Version(version))),
            Err(_) => self.give_up().get(name),
        }
    }

    fn put(&mut self, name: &str, value: &[u8], replaces: Option<Version>) -> bool {
        if let Some(local) = &mut self.local {
            return local.put(name, value, replaces);
        }
        let version = replaces.map_or(NO_VERSION, |Version(version)| version);
        match calls::set_shared_data(name, value, version) {
            Ok(true) => true,
            // Another worker may have been faster. If none was, this host does not create values like that.
            Ok(false) if replaces.is_none() && matches!(calls::shared_data(name), Ok(None)) => {
                self.give_up().put(name, value, replaces)
            }
            Ok(false) => false,
            Err(_) => self.give_up().put(name, value, None),
        }
    }

    fn is_shared(&self) -> bool {
        self.local.is_none()
    }
}
