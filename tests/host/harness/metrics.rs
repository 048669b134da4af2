//! Metrics: what a guest counted, by name.
//!
//! Takes definitions and changes by id, gives values by name. An id carries its kind in its lowest
//! two bits and two definitions of one name are one metric, as on Envoy. A histogram keeps the
//! number of its samples, not the samples.

use std::collections::BTreeMap;

use super::abi::Status;

const KIND_MASK: u32 = 3;
const COUNTER: u32 = 0;
const GAUGE: u32 = 1;
const HISTOGRAM: u32 = 2;

#[derive(Debug, Default)]
pub struct Metrics {
    names: Vec<String>,
    values: BTreeMap<String, i64>,
}

impl Metrics {
    pub fn define(&mut self, kind: u32, name: String) -> Result<u32, Status> {
        if kind > HISTOGRAM {
            return Err(Status::BadArgument);
        }
        self.values.entry(name.clone()).or_insert(0);
        self.names.push(name);
        Ok((self.names.len() as u32) << 2 | kind)
    }

    pub fn increment(&mut self, id: u32, offset: i64) -> Result<(), Status> {
        let kind = id & KIND_MASK;
        let value = self.value_mut(id)?;
        match kind {
            COUNTER if offset <= 0 => return Err(Status::BadArgument),
            COUNTER | GAUGE => *value += offset,
            _ => return Err(Status::BadArgument),
        }
        Ok(())
    }

    pub fn record(&mut self, id: u32, recorded: u64) -> Result<(), Status> {
        let kind = id & KIND_MASK;
        let value = self.value_mut(id)?;
        match kind {
            COUNTER => *value += recorded as i64,
            GAUGE => *value = recorded as i64,
            _ => *value += 1,
        }
        Ok(())
    }

    pub fn get(&mut self, id: u32) -> Result<u64, Status> {
        match id & KIND_MASK {
            COUNTER | GAUGE => Ok(*self.value_mut(id)? as u64),
            _ => Err(Status::BadArgument),
        }
    }

    /// A counter's or gauge's value, a histogram's number of samples.
    pub fn named(&self, name: &str) -> Option<i64> {
        self.values.get(name).copied()
    }

    fn value_mut(&mut self, id: u32) -> Result<&mut i64, Status> {
        let at = (id >> 2).checked_sub(1).ok_or(Status::NotFound)?;
        let name = self.names.get(at as usize).ok_or(Status::NotFound)?;
        self.values.get_mut(name).ok_or(Status::NotFound)
    }
}
