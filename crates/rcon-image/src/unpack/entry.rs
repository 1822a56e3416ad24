//! One entry of an archive, as values: nothing of it is trusted yet.

use rustix::fs::Timespec;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

impl Kind {
    /// Whether the entry's size is the length of data that follows it; for the others it means nothing (as in Go's archive/tar).
    pub(super) fn has_data(self) -> bool {
        self == Self::File
    }
}

/// An entry without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    /// Target of a link.
    pub(super) link: Vec<u8>,
    /// The permission bits, set-user-id and the like included.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: Timespec,
    pub(super) size: u64,
    pub(super) device: (u32, u32),
    /// Extended attributes, those that are not allowed included.
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a name says beyond being a name (OCI image specification, layer.md, "Whiteouts").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker<'name> {
    /// Hides this name of the layers below.
    Whiteout(&'name [u8]),
    /// Hides all that the layers below have in the directory it is in.
    Opaque,
    /// A remark of aufs; means nothing here.
    Ignored,
}

/// The marker that a name is, if it is one.
///
/// # Errors
/// When it hides something that cannot be a name.
pub(super) fn marker(name: &[u8]) -> Result<Option<Marker<'_>>, &'static str> {
    let Some(hidden) = name.strip_prefix(b".wh.") else { return Ok(None) };
    match hidden {
        b".wh..opq" => Ok(Some(Marker::Opaque)),
        _ if hidden.starts_with(b".wh.") => Ok(Some(Marker::Ignored)),
        b"" | b"." | b".." => Err("it hides what is no name"),
        _ => Ok(Some(Marker::Whiteout(hidden))),
    }
}

/// Whether an extended attribute of an archive may be set: file capabilities and the user's own, but none that
/// overlayfs takes for its own.
pub(super) fn is_allowed_attribute(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_are_told_from_names() {
        assert_eq!(marker(b"file"), Ok(None));
        assert_eq!(marker(b".wh.file"), Ok(Some(Marker::Whiteout(b"file"))));
        assert_eq!(marker(b".wh..wh..opq"), Ok(Some(Marker::Opaque)));
        assert_eq!(marker(b".wh..wh.plnk"), Ok(Some(Marker::Ignored)));
        for name in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(marker(name).is_err());
        }
    }

    #[test]
    fn only_harmless_attributes_are_kept() {
        assert!(is_allowed_attribute(b"security.capability"));
        assert!(is_allowed_attribute(b"user.note"));
        for name in
            [&b"trusted.overlay.redirect"[..], b"user.overlay.redirect", b"security.selinux", b"security.ima", b"system.posix_acl_access"]
        {
            assert!(!is_allowed_attribute(name));
        }
    }
}
