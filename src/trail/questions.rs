//! Questions to small logs.

mod access;
mod proof;
mod report;
mod scan;
mod tail;
