//! Header maps and the bytes they travel in.
//!
//! Takes and gives names and values as bytes, in order, duplicates included. Names are folded to
//! lower case on the way in, and `host` is `:authority` in a request, as Envoy has it, unless the map is nginx's. Does not
//! join duplicates of single-value headers, and does not judge which names a caller may write.

/// Envoy's limits on a map that a guest hands over.
const MAX_PAIRS: usize = 1024;
const MAX_BYTES: usize = 1 << 20;

/// Headers in their order, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMap {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether `host` is a header like any other, as nginx has it.
    keeps_host: bool,
}

impl HeaderMap {
    pub fn new(pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (fold(&name), value)).collect();
        Self { pairs, keeps_host: false }
    }

    /// The same without `:authority` in place of `host`.
    pub fn of_nginx(pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        Self { pairs, keeps_host: true }
    }

    fn fold(&self, name: &[u8]) -> Vec<u8> {
        if self.keeps_host { name.to_ascii_lowercase() } else { fold(name) }
    }

    /// The first value of `name`, which is all that the ABI's single-value getter shows.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Every value of `name`, in order.
    pub fn all(&self, name: impl AsRef<[u8]>) -> impl Iterator<Item = &[u8]> {
        let name = self.fold(name.as_ref());
        self.pairs.iter().filter(move |pair| pair.0 == name).map(|pair| pair.1.as_slice())
    }

    pub fn pairs(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.pairs
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let name = self.fold(name);
        self.pairs.push((name, value.to_vec()));
    }

    pub fn remove(&mut self, name: &[u8]) {
        let name = self.fold(name);
        self.pairs.retain(|pair| pair.0 != name);
    }

    /// Leaves exactly one `name`, where the first one stood or at the end.
    pub fn replace(&mut self, name: &[u8], value: &[u8]) {
        let folded = self.fold(name);
        match self.pairs.iter().position(|pair| pair.0 == folded) {
            None => self.add(name, value),
            Some(first) => {
                let mut at = 0;
                self.pairs.retain(|pair| {
                    at += 1;
                    at - 1 == first || pair.0 != folded
                });
                self.pairs[first].1 = value.to_vec();
            }
        }
    }

    /// The form in which a host hands a map to a guest; no bytes at all for an empty map.
    pub fn serialize(&self) -> Vec<u8> {
        if self.pairs.is_empty() {
            return Vec::new();
        }
        let mut bytes = (self.pairs.len() as u32).to_le_bytes().to_vec();
        for (name, value) in &self.pairs {
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
        }
        for (name, value) in &self.pairs {
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(value);
            bytes.push(0);
        }
        bytes
    }

    /// Reads what a guest handed over, or says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        if bytes.len() > MAX_BYTES {
            return Err("is larger than 1 MiB");
        }
        let (count, rest) = take_u32(bytes).ok_or("has no count")?;
        if count > MAX_PAIRS {
            return Err("has more than 1024 pairs");
        }
        let (mut sizes, mut text) = rest.split_at_checked(count * 8).ok_or("ends within its sizes")?;
        let mut map = Self::default();
        for _ in 0..count {
            let (name_size, after) = take_u32(sizes).ok_or("ends within its sizes")?;
            let (value_size, after) = take_u32(after).ok_or("ends within its sizes")?;
            sizes = after;
            let (name, after) = take_text(text, name_size).ok_or("ends within a name")?;
            let (value, after) = take_text(after, value_size).ok_or("ends within a value")?;
            text = after;
            map.add(name, value);
        }
        if text.is_empty() { Ok(map) } else { Err("has bytes left over") }
    }
}

fn take_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number) as usize, rest))
}

/// `size` bytes and the NUL behind them.
fn take_text(bytes: &[u8], size: usize) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(size)?;
    Some((text, rest.strip_prefix(&[0])?))
}

fn fold(name: &[u8]) -> Vec<u8> {
    if name.eq_ignore_ascii_case(b"host") { b":authority".to_vec() } else { name.to_ascii_lowercase() }
}
