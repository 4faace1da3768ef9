//! The simulated CC-Gateway.
