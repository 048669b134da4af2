//! What is known about questions: things by their question.
//!
//! A sorted list, since there are a thousand of them at most: one search, and no tree whose code would be larger than
//! all else here.

use crate::session_check::question::QuestionId;

/// At most so many things by question.
#[derive(Debug)]
pub(super) struct Table<T> {
    most: usize,
    /// In the order of the questions.
    things: Vec<(QuestionId, T)>,
}

impl<T> Table<T> {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, things: Vec::new() }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.things.len() >= self.most
    }

    fn find(&self, id: &QuestionId) -> Result<usize, usize> {
        self.things.binary_search_by(|(known, _)| known.cmp(id))
    }

    pub(super) fn get(&self, id: &QuestionId) -> Option<&T> {
        self.find(id).ok().and_then(|place| self.things.get(place)).map(|(_, thing)| thing)
    }

    pub(super) fn get_mut(&mut self, id: &QuestionId) -> Option<&mut T> {
        let place = self.find(id).ok()?;
        self.things.get_mut(place).map(|(_, thing)| thing)
    }

    /// Takes something in. When there is no room, what comes first by `order` goes.
    pub(super) fn put<K: Ord>(&mut self, id: QuestionId, thing: T, order: impl Fn(&T) -> K) {
        self.remove(&id);
        if self.is_full() {
            let first = self.things.iter().enumerate().min_by_key(|(_, (_, thing))| order(thing));
            if let Some((place, _)) = first {
                self.things.remove(place);
            }
        }
        if let Err(place) = self.find(&id) {
            self.things.insert(place, (id, thing));
        }
    }

    pub(super) fn remove(&mut self, id: &QuestionId) {
        if let Ok(place) = self.find(id) {
            self.things.remove(place);
        }
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.things.iter_mut().map(|(_, thing)| thing)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&QuestionId, &T)> {
        self.things.iter().map(|(id, thing)| (id, thing))
    }
}
