//! What `smoke` proves, and from what: real answers in, checks out.

pub mod answer;
pub mod checks;
pub mod edges;
pub mod junit;
pub mod load;
pub mod outcome;

pub use outcome::{Check, ModeReport, Outcome, Report, Spread};
