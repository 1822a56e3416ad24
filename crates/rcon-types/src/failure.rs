//! The one shape in which a failure crosses a process boundary: what failed, why, and how to mend it.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

/// What a caller can do about a failure. Maps one to one to a gRPC status code (in `rcon-rpc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request itself is wrong; the same request will never work.
    InvalidArgument,
    /// The named thing is not there.
    NotFound,
    /// The name is taken or the thing is there already.
    AlreadyExists,
    /// The caller's identity may not do this.
    PermissionDenied,
    /// The caller has no identity, or one that is not accepted.
    Unauthenticated,
    /// The state of the system forbids it now; mend that first.
    FailedPrecondition,
    /// Somebody else changed the object in between; read again and retry.
    Conflict,
    /// No quorum, no leader, no manager, or nobody answers; a retry may work.
    Unavailable,
    /// The deadline passed; the outcome is not known.
    DeadlineExceeded,
    /// A limit: disk, memory, addresses, queue.
    ResourceExhausted,
    /// This host or kernel cannot do it.
    Unimplemented,
    /// A fault of ours.
    Internal,
}

/// A failure as the user sees it.
///
/// Printed as `error: message`, a line `caused by:` a cause, and `hint:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What a caller can do about it.
    pub kind: FailureKind,
    /// What was attempted, without the cause.
    pub message: String,
    /// The chain of causes, outermost first; never repeats `message`.
    pub causes: Vec<String>,
    /// How to mend it.
    pub hint: Option<String>,
    /// What a command that met this ends with, where that is not its usual code: Docker's 126 and 127 of a program that cannot be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
}

impl Failure {
    /// A failure without causes or hint.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None, exit_code: None }
    }

    /// A failure from an error: its text is the message, its sources are the causes.
    #[must_use]
    pub fn from_error(kind: FailureKind, error: &(dyn Error + 'static)) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self { kind, message: error.to_string(), causes, hint: None, exit_code: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the code that a command ends with.
    #[must_use]
    pub const fn exit_code(mut self, code: Option<u8>) -> Self {
        self.exit_code = code;
        self
    }

    /// The same as the cause of a wider operation: `message` names that one, the old message becomes the first cause.
    #[must_use]
    pub fn during(mut self, message: impl Into<String>) -> Self {
        self.causes.insert(0, std::mem::replace(&mut self.message, message.into()));
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_what_why_and_how_to_mend_it() {
        let failure = Failure::new(FailureKind::Unimplemented, "operation not supported")
            .during("could not create VXLAN device `rcvx4097`")
            .hint("load it with `modprobe vxlan`");
        assert_eq!(
            failure.to_string(),
            "could not create VXLAN device `rcvx4097`\n  caused by: operation not supported\n  hint: load it with `modprobe vxlan`"
        );
    }
}
