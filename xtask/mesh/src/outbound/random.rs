use std::cell::RefCell;

use tower::util::rng::{HasherRng, Rng};

thread_local! {
    static RNG: RefCell<HasherRng> = RefCell::new(HasherRng::default());
}

/// A random number below `bound`, which must not be 0.
pub(crate) fn below(bound: usize) -> usize {
    usize::try_from(below_u64(bound as u64)).unwrap_or_default()
}

/// A random number below `bound`, which must not be 0.
pub(crate) fn below_u64(bound: u64) -> u64 {
    RNG.with_borrow_mut(|rng| rng.next_range(0..bound))
}

/// A random number from 0 to 1.
pub(crate) fn fraction() -> f64 {
    RNG.with_borrow_mut(Rng::next_f64)
}
