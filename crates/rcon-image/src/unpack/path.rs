//! Paths of an archive, made harmless before any of them reaches the kernel.

use crate::limits::{DEPTH, NAME_BYTES, PATH_BYTES};

/// A path below the root of a layer: no empty, `.` or `..` component. The root itself has no components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split<'path> {
    /// The components above the last one, joined with `/`; empty for the root.
    pub(super) parent: &'path [u8],
    /// The last component.
    pub(super) name: &'path [u8],
}

/// A path as the archive has it, relative to the root of the layer. A leading `/` is the root; `..` is resolved by text,
/// as Docker does, and may not leave the root.
///
/// # Errors
/// When it leaves the root, is empty, has a NUL, or is too long or too deep.
pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    if path.is_empty() {
        return Err("its path is empty");
    }
    if path.len() > PATH_BYTES {
        return Err("its path is too long");
    }
    if path.contains(&0) {
        return Err("its path has a NUL");
    }
    let mut components: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop().ok_or("its path leaves the root")?;
            }
            name if name.len() > NAME_BYTES => return Err("a name in its path is too long"),
            name => components.push(name),
        }
    }
    if components.len() > DEPTH as usize {
        return Err("it lies too deep");
    }
    Ok(components.join(&b'/'))
}

/// A clean path's parent and name; none for the root.
pub(super) fn split(clean: &[u8]) -> Option<Split<'_>> {
    if clean.is_empty() {
        return None;
    }
    Some(match clean.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Split { parent: &clean[..slash], name: &clean[slash + 1..] },
        None => Split { parent: b"", name: clean },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_taken_as_docker_takes_them() {
        for (path, expected) in
            [("a/b", "a/b"), ("./a//b/", "a/b"), ("/etc/passwd", "etc/passwd"), ("a/../b", "b"), (".", ""), ("/", ""), ("...", "...")]
        {
            assert_eq!(clean(path.as_bytes()).unwrap(), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        let deep = "a/".repeat(300);
        let long_name = "n".repeat(256);
        let long = "a/".repeat(2049);
        for path in ["", "..", "../a", "a/../..", "/..", "a/../../b", "a\0b", &deep, &long_name, &long] {
            assert!(clean(path.as_bytes()).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_clean_path_stays_inside_and_is_clean(path in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..64)) {
            if let Ok(cleaned) = clean(&path) {
                prop_assert!(!cleaned.starts_with(b"/"));
                prop_assert!(cleaned.is_empty() || cleaned.split(|b| *b == b'/').all(|c| !matches!(c, b"" | b"." | b"..")));
                prop_assert!(cleaned.is_empty() || clean(&cleaned).unwrap() == cleaned);
            }
        }
    }
}
