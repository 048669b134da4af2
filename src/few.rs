//! One thing, mostly.
//!
//! A list whose first item takes no memory of its own: a request has one credential of one provider that is one token
//! and becomes one identity, and each list on the heap would cost as much as a look at the whole header.

use std::{iter, option, slice, vec};

/// None, one, or more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Few<T> {
    first: Option<T>,
    /// Empty where there is no first.
    others: Vec<T>,
}

impl<T> Few<T> {
    /// None.
    pub const fn new() -> Self {
        Self { first: None, others: Vec::new() }
    }

    /// Adds one behind the others.
    pub fn push(&mut self, item: T) {
        match self.first {
            None => self.first = Some(item),
            Some(_) => self.others.push(item),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The one at this place.
    pub fn get(&self, position: usize) -> Option<&T> {
        match position.checked_sub(1) {
            None => self.first.as_ref(),
            Some(position) => self.others.get(position),
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> iter::Chain<option::Iter<'_, T>, slice::Iter<'_, T>> {
        self.first.iter().chain(&self.others)
    }

    /// All of them, in order.
    pub fn iter_mut(&mut self) -> iter::Chain<option::IterMut<'_, T>, slice::IterMut<'_, T>> {
        self.first.iter_mut().chain(&mut self.others)
    }
}

impl<T: PartialEq> Few<T> {
    /// Whether one of them is this.
    pub fn contains(&self, item: &T) -> bool {
        self.iter().any(|known| known == item)
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut few = Self::new();
        few.extend(items);
        few
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = iter::Chain<option::IntoIter<T>, vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.others)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn few_things_are_a_list(items: Vec<u8>, place in 0_usize..5) {
            let few: Few<_> = items.iter().copied().collect();
            prop_assert_eq!(few.len(), items.len());
            prop_assert_eq!(few.is_empty(), items.is_empty());
            prop_assert_eq!(few.get(place), items.get(place));
            prop_assert!(few.iter().eq(&items) && few.iter().rev().eq(items.iter().rev()));
            prop_assert_eq!(few.contains(&7), items.contains(&7));
            prop_assert!(few.into_iter().eq(items));
        }
    }
}
