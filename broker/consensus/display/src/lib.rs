//! Options, results, slices and sets as text, in the shape that openraft wants for its log lines.
//!
//! The crate that the library names for that job brings every time zone of the world with it, and what makes tables of them
//! while it is built; the library only ever shows the four things that are here.
//!
//! Must not know: what is shown.

use std::collections::BTreeSet;
use std::fmt;

/// How many elements are shown of a list whose writer said nothing.
const SHOWN: usize = 5;

/// An option: its value, or `None`.
#[derive(Debug)]
pub struct DisplayOption<'a, T>(&'a Option<T>);

/// Options as text.
pub trait DisplayOptionExt<'a, T> {
    /// What writes it.
    fn display(&'a self) -> DisplayOption<'a, T>;
}

impl<'a, T: fmt::Display> DisplayOptionExt<'a, T> for Option<T> {
    fn display(&'a self) -> DisplayOption<'a, T> {
        DisplayOption(self)
    }
}

impl<T: fmt::Display> fmt::Display for DisplayOption<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("None"),
        }
    }
}

/// A result: `Ok(..)` or `Err(..)`.
#[derive(Debug)]
pub struct DisplayResult<'a, T, E>(&'a Result<T, E>);

/// Results as text.
pub trait DisplayResultExt<'a, T, E> {
    /// What writes it.
    fn display(&'a self) -> DisplayResult<'a, T, E>;
}

impl<'a, T: fmt::Display, E: fmt::Display> DisplayResultExt<'a, T, E> for Result<T, E> {
    fn display(&'a self) -> DisplayResult<'a, T, E> {
        DisplayResult(self)
    }
}

impl<T: fmt::Display, E: fmt::Display> fmt::Display for DisplayResult<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(value) => write!(f, "Ok({value})"),
            Err(error) => write!(f, "Err({error})"),
        }
    }
}

/// A list: the first elements, and the last where some are left out.
#[derive(Debug)]
pub struct DisplayList<I> {
    elements: I,
    shown: usize,
}

/// Slices as text.
pub trait DisplaySliceExt<'a, T: 'a> {
    /// What writes a few of its elements.
    fn display(&'a self) -> DisplayList<std::slice::Iter<'a, T>>;
    /// What writes at most `shown` of its elements.
    fn display_n(&'a self, shown: usize) -> DisplayList<std::slice::Iter<'a, T>> {
        DisplayList { shown, ..self.display() }
    }
}

impl<'a, T: fmt::Display + 'a> DisplaySliceExt<'a, T> for [T] {
    fn display(&'a self) -> DisplayList<std::slice::Iter<'a, T>> {
        DisplayList { elements: self.iter(), shown: SHOWN }
    }
}

/// Sets as text.
pub trait DisplayBTreeSetExt<'a, T: 'a> {
    /// What writes a few of its elements.
    fn display(&'a self) -> DisplayList<std::collections::btree_set::Iter<'a, T>>;
}

impl<'a, T: fmt::Display + 'a> DisplayBTreeSetExt<'a, T> for BTreeSet<T> {
    fn display(&'a self) -> DisplayList<std::collections::btree_set::Iter<'a, T>> {
        DisplayList { elements: self.iter(), shown: SHOWN }
    }
}

impl<I> fmt::Display for DisplayList<I>
where
    I: ExactSizeIterator + Clone,
    I::Item: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.elements.len();
        let first = if all > self.shown { self.shown.saturating_sub(1) } else { all };
        f.write_str("[")?;
        let mut separator = "";
        for element in self.elements.clone().take(first) {
            write!(f, "{separator}{element}")?;
            separator = ",";
        }
        if first < all {
            write!(f, "{separator}..")?;
            self.elements.clone().skip(all - 1).try_for_each(|last| write!(f, ",{last}"))?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_results_are_shown_with_what_they_hold() {
        let none: Option<u8> = None;
        assert_eq!(Some(4).display().to_string(), "4");
        assert_eq!(none.display().to_string(), "None");
        assert_eq!(Result::<u8, &str>::Ok(4).display().to_string(), "Ok(4)");
        assert_eq!(Result::<u8, &str>::Err("why").display().to_string(), "Err(why)");
    }

    #[test]
    fn of_long_lists_the_first_and_the_last_elements_are_shown() {
        let list = [1, 2, 3, 4, 5, 6];
        assert_eq!(list.display().to_string(), "[1,2,3,4,..,6]");
        assert_eq!(list[..5].display().to_string(), "[1,2,3,4,5]");
        assert_eq!(list[..0].display().to_string(), "[]");
        assert_eq!(list.display_n(3).to_string(), "[1,2,..,6]");
        assert_eq!(list.display_n(1).to_string(), "[..,6]");
        assert_eq!(list.display_n(10).to_string(), "[1,2,3,4,5,6]");
        assert_eq!(BTreeSet::from(list).display().to_string(), "[1,2,3,4,..,6]");
    }
}
