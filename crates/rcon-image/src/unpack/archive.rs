//! Reading a tar archive entry by entry.
//!
//! The `tar` crate parses single headers and nothing else: the walk, the extensions (PAX, GNU long names) and their limits
//! are here, so that memory is bounded and a size can mean only one thing.

use rustix::fs::Timespec;
use tar::{EntryType, Header};

use crate::{
    limits::{EXTENSION_BYTES, UnpackLimits},
    unpack::{
        entry::{Entry, Kind},
        error::UnpackError,
        pax,
        source::Source,
    },
};

const BLOCK: usize = 512;
/// Extensions before one entry; real archives have up to three.
const EXTENSIONS: usize = 16;

/// A tar archive.
pub(super) struct Archive<'input> {
    source: Source<'input>,
    /// Data and padding of the current entry that are still to come.
    data: u64,
    padding: u64,
    entries: u64,
    limit: u64,
}

/// What extensions say about the entry that follows them.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Vec<u8>,
}

impl<'input> Archive<'input> {
    pub(super) fn new(source: Source<'input>, limits: &UnpackLimits) -> Self {
        Self { source, data: 0, padding: 0, entries: 0, limit: limits.entries }
    }

    /// Entries read so far.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// The stream, once [`Archive::next_entry`] has returned none.
    pub(super) fn into_source(self) -> Source<'input> {
        self.source
    }

    /// The next entry; none at the end. Data of the one before that was not read is passed over.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        self.pass_over()?;
        let mut extensions = Extensions::default();
        for _ in 0..EXTENSIONS {
            let Some(header) = self.header()? else { return Ok(None) };
            let size = self.number(&header.as_old().size, header.entry_size())?;
            let kind = match header.entry_type() {
                EntryType::GNULongName => {
                    extensions.long_name = Some(self.text(size)?);
                    continue;
                }
                EntryType::GNULongLink => {
                    extensions.long_link = Some(self.text(size)?);
                    continue;
                }
                EntryType::XHeader => {
                    extensions.pax = self.extension(size)?;
                    continue;
                }
                // Global headers (a commit id, say) and GNU volume labels are no entries.
                EntryType::XGlobalHeader | EntryType::__Nonexhaustive(b'V') => {
                    self.expect(size);
                    self.pass_over()?;
                    continue;
                }
                other => self.kind(other, &header)?,
            };
            self.entries += 1;
            if self.entries > self.limit {
                return Err(UnpackError::Limit { what: "entries".into(), limit: self.limit });
            }
            let entry = self.entry(kind, &header, extensions)?;
            self.expect(if kind.has_data() { entry.size } else { 0 });
            return Ok(Some(entry));
        }
        Err(self.malformed("too many extensions before an entry"))
    }

    /// Reads data of the current entry; 0 at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let want = buffer.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut buffer[..want])?;
        if read == 0 {
            return Err(self.malformed("it ends within an entry"));
        }
        self.data -= read as u64;
        Ok(read)
    }

    fn expect(&mut self, size: u64) {
        self.data = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn pass_over(&mut self) -> Result<(), UnpackError> {
        let mut scrap = [0; 8192];
        while self.read(&mut scrap)? > 0 {}
        let mut padding = [0; BLOCK];
        // The last entry's padding may be missing.
        self.source.fill(&mut padding[..std::mem::take(&mut self.padding) as usize])?;
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut block = [0; BLOCK];
        match self.source.fill(&mut block)? {
            0 if self.source.offset() == 0 => return Err(self.malformed("it is empty")),
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(self.malformed("it ends within a header")),
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum = header.cksum().map_err(|error| self.malformed(error))?;
        // POSIX.1-2017, pax, "ustar Interchange Format": the sum of all bytes, the checksum's own counted as spaces.
        let found: u32 = block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        if sum != found {
            return Err(self.malformed("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > EXTENSION_BYTES {
            return Err(UnpackError::Limit { what: "bytes of an extended header".into(), limit: EXTENSION_BYTES });
        }
        self.expect(size);
        let mut bytes = vec![0; size as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += self.read(&mut bytes[filled..])?;
        }
        self.pass_over()?;
        Ok(bytes)
    }

    fn text(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        let mut text = self.extension(size)?;
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        text.truncate(end);
        Ok(text)
    }

    fn kind(&self, entry_type: EntryType, header: &Header) -> Result<Kind, UnpackError> {
        Ok(match entry_type {
            // Before ustar a directory was a file whose name ends with a slash.
            EntryType::Regular if header.path_bytes().ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Link => Kind::HardLink,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Char => Kind::CharDevice,
            EntryType::Block => Kind::BlockDevice,
            EntryType::Directory => Kind::Directory,
            EntryType::Fifo => Kind::Fifo,
            EntryType::GNUSparse => return Err(UnpackError::refused(&header.path_bytes(), "sparse files are not supported")),
            other => {
                let reason = format!("its type `{}` is not known", other.as_byte().escape_ascii());
                return Err(UnpackError::refused(&header.path_bytes(), reason));
            }
        })
    }

    fn entry(&self, kind: Kind, header: &Header, extensions: Extensions) -> Result<Entry, UnpackError> {
        let raw = header.as_old();
        let device = |field: std::io::Result<Option<u32>>| field.map(Option::unwrap_or_default).map_err(|error| self.malformed(error));
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        let mut entry = Entry {
            kind,
            path: extensions.long_name.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: extensions.long_link.or_else(|| header.link_name_bytes().map(Into::into)).unwrap_or_default(),
            mode: self.number(&raw.mode, header.mode())? & 0o7777,
            uid: 0,
            gid: 0,
            modified: Timespec { tv_sec: i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0), tv_nsec: 0 },
            size: self.number(&raw.size, header.entry_size())?,
            device: if is_device { (device(header.device_major())?, device(header.device_minor())?) } else { (0, 0) },
            attributes: Vec::new(),
        };
        let (mut uid, mut gid) = (self.number(&raw.uid, header.uid())?, self.number(&raw.gid, header.gid())?);
        for (key, value) in pax::records(&extensions.pax).map_err(|reason| self.malformed(reason))? {
            let decimal = || pax::decimal(value).map_err(|reason| self.malformed(reason));
            match key {
                b"path" => entry.path = value.to_vec(),
                b"linkpath" => entry.link = value.to_vec(),
                b"size" => entry.size = decimal()?,
                b"uid" => uid = decimal()?,
                b"gid" => gid = decimal()?,
                b"mtime" => entry.modified = pax::time(value).map_err(|reason| self.malformed(reason))?,
                _ if key.starts_with(b"GNU.sparse.") => return Err(UnpackError::refused(&entry.path, "sparse files are not supported")),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        entry.attributes.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        // -1 would mean "leave it as it is" to chown(2).
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        entry.uid = id(uid).ok_or_else(|| UnpackError::refused(&entry.path, "its owner is out of range"))?;
        entry.gid = id(gid).ok_or_else(|| UnpackError::refused(&entry.path, "its group is out of range"))?;
        Ok(entry)
    }

    /// A number of a header; a field that was left blank is 0, as in Go's archive/tar.
    fn number<N: Default>(&self, field: &[u8], parsed: std::io::Result<N>) -> Result<N, UnpackError> {
        if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
            return Ok(N::default());
        }
        parsed.map_err(|error| self.malformed(error))
    }

    fn malformed(&self, reason: impl ToString) -> UnpackError {
        UnpackError::Malformed { reason: reason.to_string(), offset: self.source.offset() }
    }
}
