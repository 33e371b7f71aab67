//! This project's own figures: each measured on this machine, none assumed.

pub mod cold;
pub mod edit;
pub mod figures;
pub mod idle;
pub mod kind;
pub mod machine;
pub mod mesh;
pub mod policy;
pub mod scratch;
pub mod start;
