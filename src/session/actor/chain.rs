//! Errors as the log tells them: one line with all causes, nothing else.

/// An error with its causes, for the log.
pub(in crate::session) struct Chain<'a, E>(pub(in crate::session) &'a E);

impl<E: std::error::Error> std::fmt::Display for Chain<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
