//! Which URL is asked, and when another one is.
