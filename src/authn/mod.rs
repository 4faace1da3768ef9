//! Who is asking: from a bearer token to a [`Caller`]. It knows nothing of what is asked for.

mod caller;

pub use caller::{Caller, Inspects};
