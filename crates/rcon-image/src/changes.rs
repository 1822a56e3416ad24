//! Dockerfile instructions applied to an image's defaults.

use thiserror::Error;

/// Why an instruction cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// An instruction that an import does not know.
    #[error("`{0}` is no instruction of an import: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR")]
    Unknown(String),
    /// An instruction with arguments that do not fit.
    #[error("`{instruction}`: {reason}")]
    Arguments {
        /// The instruction as given.
        instruction: String,
        /// What is wrong with it.
        reason: String,
    },
}
