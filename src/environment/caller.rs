//! The side that the engine works for, as the engine sees it.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::error::Error;

/// What the caller's side does while the engine works for it.
pub trait Caller {
    /// Called at least every 100 ms.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the caller has a signal to attend to.
    fn attend(&self) -> Result<(), Error>;
    /// The body of the `setup` message for a template that is about to be started with this `sys.path`.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when it could not be made; the caller knows why.
    fn setup(&self, path: &[PathBuf]) -> Result<Vec<u8>, Error>;
    /// Preloading has come to this module.
    fn progress(&self, module: &str, position: usize, of: usize);
    /// Preloading is over.
    fn settled(&self);
}
