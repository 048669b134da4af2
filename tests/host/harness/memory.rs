//! The guest's memory as a host call sees it.
//!
//! Takes pointers and sizes from the guest and checks each before use: outside the memory is
//! `InvalidMemoryAccess`, never a panic. What the guest is given lives in memory that its own
//! allocator handed out. Does not know what the bytes mean.

use wasmtime::{Caller, Extern, Memory};

use super::abi::{Fault, Status};
use super::state::State;

/// Where the guest keeps bytes that it hands over.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub pointer: u32,
    pub size: u32,
}

/// Where the guest wants to be told the pointer and the size of what it is given.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub pointer_at: u32,
    pub size_at: u32,
}

/// A guest in the middle of a host call.
pub struct Guest<'a>(pub Caller<'a, State>);

impl Guest<'_> {
    pub fn state(&mut self) -> &mut State {
        self.0.data_mut()
    }

    pub fn read(&mut self, span: Span) -> Result<Vec<u8>, Status> {
        let range = range(span.pointer, span.size as usize)?;
        let memory = self.memory()?;
        let bytes = memory.data(&self.0).get(range).ok_or(Status::InvalidMemoryAccess)?;
        Ok(bytes.to_vec())
    }

    pub fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Status> {
        let range = range(pointer, bytes.len())?;
        let memory = self.memory()?;
        let target = memory.data_mut(&mut self.0).get_mut(range);
        target.ok_or(Status::InvalidMemoryAccess)?.copy_from_slice(bytes);
        Ok(())
    }

    pub fn write_u32(&mut self, pointer: u32, number: u32) -> Result<(), Status> {
        self.write(pointer, &number.to_le_bytes())
    }

    pub fn write_u64(&mut self, pointer: u32, number: u64) -> Result<(), Status> {
        self.write(pointer, &number.to_le_bytes())
    }

    /// Copies `bytes` into fresh guest memory and tells the guest where; nothing is a null pointer.
    pub fn give(&mut self, bytes: &[u8], place: Place) -> Result<(), Fault> {
        let mut pointer = 0;
        if !bytes.is_empty() {
            pointer = self.allocate(bytes.len() as u32)?;
            self.write(pointer, bytes)?;
        }
        self.write_u32(place.pointer_at, pointer)?;
        self.write_u32(place.size_at, bytes.len() as u32)?;
        Ok(())
    }

    fn allocate(&mut self, size: u32) -> Result<u32, Fault> {
        let export = ["proxy_on_memory_allocate", "malloc"]
            .into_iter()
            .find_map(|name| self.0.get_export(name).and_then(Extern::into_func));
        self.state().allocations += 1;
        let allocate = export.ok_or(Status::InvalidMemoryAccess)?;
        let allocate = allocate.typed::<u32, u32>(&self.0).map_err(Fault::Trap)?;
        match allocate.call(&mut self.0, size).map_err(Fault::Trap)? {
            0 => Err(Status::InvalidMemoryAccess.into()),
            pointer => Ok(pointer),
        }
    }

    fn memory(&mut self) -> Result<Memory, Status> {
        let export = self.0.get_export("memory").and_then(Extern::into_memory);
        export.ok_or(Status::InvalidMemoryAccess)
    }
}

fn range(pointer: u32, size: usize) -> Result<std::ops::Range<usize>, Status> {
    let start = pointer as usize;
    let end = start.checked_add(size).ok_or(Status::InvalidMemoryAccess)?;
    Ok(start..end)
}
