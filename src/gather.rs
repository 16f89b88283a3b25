//! Sorted collections, filled one by one.
//!
//! `collect` into a `BTreeMap` or `BTreeSet` sorts a list first: 5 to 10 KB of code for each type
//! of element, in a program that fills them once with a handful.

/// An empty collection that each of `items` is put into; of equal keys the last one stays.
pub(crate) fn gather<C: Default + Extend<T>, T>(items: impl IntoIterator<Item = T>) -> C {
    let mut gathered = C::default();
    gathered.extend(items);
    gathered
}
