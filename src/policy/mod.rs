//! Who may take which recording: [`Caller`](crate::authn::Caller) and [`Download`](crate::route::Download) to
//! [`Authorized`] or [`Denied`]. The same input gives the same answer: no IO after load, no clock, no chance.

mod authorized;

pub use authorized::{Authorized, Denied, Reason, RuleId};
