//! A [`Failure`] as a gRPC status and back. The whole of it travels in the binary details; a status of somebody else's making
//! (tonic, HTTP/2, the connector) becomes the failure that it means.

use std::error::Error;

use rcon_proto::{Message, v1};
use rcon_types::{Failure, FailureKind};
use tonic::{Code, Status};

use crate::{ConnectError, limits};

/// A failure for the wire. Texts are cut to the bounds of [`limits`].
#[must_use]
pub fn failure_to_status(failure: Failure) -> Status {
    let message = cut(&failure.message, limits::MAX_STATUS_MESSAGE);
    let mut detail = v1::FailureDetail {
        kind: kind_to_wire(failure.kind).into(),
        message: cut(&failure.message, limits::MAX_FAILURE_TEXT),
        causes: failure.causes.iter().take(limits::MAX_CAUSES).map(|cause| cut(cause, limits::MAX_CAUSE)).collect(),
        hint: failure.hint.as_deref().map(|hint| cut(hint, limits::MAX_FAILURE_TEXT)),
        exit_code: failure.exit_code.map(u32::from),
    };
    while detail.encoded_len() > limits::MAX_DETAIL_BYTES && detail.causes.pop().is_some() {}
    Status::with_details(code(failure.kind), message, detail.encode_to_vec().into())
}

/// The failure that a status means, whoever made it.
#[must_use]
pub fn status_to_failure(status: Status) -> Failure {
    if let Some(failure) = from_detail(&status) {
        return failure;
    }
    if let Some(error) = find_source::<ConnectError>(&status) {
        return error.failure();
    }
    let broken = status.source().is_some();
    match status.code() {
        Code::DeadlineExceeded => too_late(),
        Code::Cancelled if status.message().contains("Timeout expired") => too_late(),
        // tonic's own: a status that came over the wire has no source.
        Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable if broken => broken_connection(&status),
        Code::Unimplemented if status.message().is_empty() => {
            Failure::new(FailureKind::Unimplemented, "the server does not know this request")
                .hint("client and server may be of different versions, or the server is no manager")
        }
        code => Failure::new(kind(code), if status.message().is_empty() { code.description() } else { status.message() }),
    }
}

fn too_late() -> Failure {
    Failure::new(FailureKind::DeadlineExceeded, "the server did not answer in time; whether it did what was asked is not known")
        .hint("look before you try again: `rconctl node ls` shows whether the managers answer")
}

fn broken_connection(status: &Status) -> Failure {
    let mut causes: Vec<String> = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = status.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if causes.last().is_none_or(|last| !last.contains(&text)) && causes.len() < limits::MAX_CAUSES {
            causes.push(text);
        }
        next = cause.source();
    }
    let mut failure = Failure::new(FailureKind::Unavailable, "the connection to the server broke")
        .hint("try again; if it was a change, look first whether it was made");
    failure.causes = causes;
    failure
}

fn from_detail(status: &Status) -> Option<Failure> {
    if status.details().is_empty() || status.details().len() > limits::MAX_DETAIL_BYTES {
        return None;
    }
    let detail = v1::FailureDetail::decode(status.details()).ok()?;
    let kind = kind_from_wire(detail.kind())?;
    let exit_code = detail.exit_code.and_then(|code| u8::try_from(code).ok());
    Some(Failure { kind, message: detail.message, causes: detail.causes, hint: detail.hint, exit_code })
}

fn find_source<T: Error + 'static>(error: &dyn Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(found) = source.downcast_ref() {
            return Some(found);
        }
        next = source.source();
    }
    None
}

/// The first `most` characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

const fn code(kind: FailureKind) -> Code {
    match kind {
        FailureKind::InvalidArgument => Code::InvalidArgument,
        FailureKind::NotFound => Code::NotFound,
        FailureKind::AlreadyExists => Code::AlreadyExists,
        FailureKind::PermissionDenied => Code::PermissionDenied,
        FailureKind::Unauthenticated => Code::Unauthenticated,
        FailureKind::FailedPrecondition => Code::FailedPrecondition,
        FailureKind::Conflict => Code::Aborted,
        FailureKind::Unavailable => Code::Unavailable,
        FailureKind::DeadlineExceeded => Code::DeadlineExceeded,
        FailureKind::ResourceExhausted => Code::ResourceExhausted,
        FailureKind::Unimplemented => Code::Unimplemented,
        FailureKind::Internal => Code::Internal,
    }
}

const fn kind(code: Code) -> FailureKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => FailureKind::InvalidArgument,
        Code::NotFound => FailureKind::NotFound,
        Code::AlreadyExists => FailureKind::AlreadyExists,
        Code::PermissionDenied => FailureKind::PermissionDenied,
        Code::Unauthenticated => FailureKind::Unauthenticated,
        Code::FailedPrecondition => FailureKind::FailedPrecondition,
        Code::Aborted => FailureKind::Conflict,
        Code::Unavailable | Code::Cancelled => FailureKind::Unavailable,
        Code::DeadlineExceeded => FailureKind::DeadlineExceeded,
        Code::ResourceExhausted => FailureKind::ResourceExhausted,
        Code::Unimplemented => FailureKind::Unimplemented,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => FailureKind::Internal,
    }
}

const fn kind_to_wire(kind: FailureKind) -> v1::FailureKind {
    match kind {
        FailureKind::InvalidArgument => v1::FailureKind::InvalidArgument,
        FailureKind::NotFound => v1::FailureKind::NotFound,
        FailureKind::AlreadyExists => v1::FailureKind::AlreadyExists,
        FailureKind::PermissionDenied => v1::FailureKind::PermissionDenied,
        FailureKind::Unauthenticated => v1::FailureKind::Unauthenticated,
        FailureKind::FailedPrecondition => v1::FailureKind::FailedPrecondition,
        FailureKind::Conflict => v1::FailureKind::Conflict,
        FailureKind::Unavailable => v1::FailureKind::Unavailable,
        FailureKind::DeadlineExceeded => v1::FailureKind::DeadlineExceeded,
        FailureKind::ResourceExhausted => v1::FailureKind::ResourceExhausted,
        FailureKind::Unimplemented => v1::FailureKind::Unimplemented,
        FailureKind::Internal => v1::FailureKind::Internal,
    }
}

const fn kind_from_wire(kind: v1::FailureKind) -> Option<FailureKind> {
    Some(match kind {
        v1::FailureKind::Unspecified => return None,
        v1::FailureKind::InvalidArgument => FailureKind::InvalidArgument,
        v1::FailureKind::NotFound => FailureKind::NotFound,
        v1::FailureKind::AlreadyExists => FailureKind::AlreadyExists,
        v1::FailureKind::PermissionDenied => FailureKind::PermissionDenied,
        v1::FailureKind::Unauthenticated => FailureKind::Unauthenticated,
        v1::FailureKind::FailedPrecondition => FailureKind::FailedPrecondition,
        v1::FailureKind::Conflict => FailureKind::Conflict,
        v1::FailureKind::Unavailable => FailureKind::Unavailable,
        v1::FailureKind::DeadlineExceeded => FailureKind::DeadlineExceeded,
        v1::FailureKind::ResourceExhausted => FailureKind::ResourceExhausted,
        v1::FailureKind::Unimplemented => FailureKind::Unimplemented,
        v1::FailureKind::Internal => FailureKind::Internal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_its_status_with_causes_and_hint() {
        let failure =
            Failure::new(FailureKind::Conflict, "could not create network `b`\u{e9}").during("outer").hint("read again and retry");
        assert_eq!(status_to_failure(failure_to_status(failure.clone())), failure);
        assert_eq!(failure_to_status(failure).code(), Code::Aborted);
    }

    #[test]
    fn every_kind_survives() {
        use FailureKind as K;
        for kind in [
            K::InvalidArgument,
            K::NotFound,
            K::AlreadyExists,
            K::PermissionDenied,
            K::Unauthenticated,
            K::FailedPrecondition,
            K::Conflict,
            K::Unavailable,
            K::DeadlineExceeded,
            K::ResourceExhausted,
            K::Unimplemented,
            K::Internal,
        ] {
            let failure = Failure::new(kind, "x");
            assert_eq!(status_to_failure(failure_to_status(failure.clone())), failure);
            assert_eq!(status_to_failure(Status::new(code(kind), "x")).kind, kind);
        }
    }

    #[test]
    fn a_failure_without_end_is_cut_to_what_headers_hold() {
        let mut failure = Failure::new(FailureKind::Internal, "é".repeat(100_000)).hint("h".repeat(100_000));
        failure.causes = vec!["\u{1F600}".repeat(100_000); 100];
        let status = failure_to_status(failure);
        assert!(status.details().len() <= limits::MAX_DETAIL_BYTES, "{}", status.details().len());
        assert!(status.message().chars().count() <= limits::MAX_STATUS_MESSAGE + 1);
        assert!(!status_to_failure(status).causes.is_empty());
    }

    #[test]
    fn garbage_in_the_details_is_not_trusted() {
        let status = Status::with_details(Code::NotFound, "no such node", vec![0xff; 40].into());
        assert_eq!(status_to_failure(status), Failure::new(FailureKind::NotFound, "no such node"));
    }
}
