//! Writing a recording as a classic pcap file (draft-ietf-opsawg-pcap), nanosecond times, Ethernet.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::Recording;

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const VERSION: [u16; 2] = [2, 4];
const LONGEST: u32 = 512 << 10;
const LINKTYPE_ETHERNET: u32 = 1;

pub fn write(recording: &Recording, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&MAGIC_NANOSECONDS.to_le_bytes())?;
    for part in VERSION {
        file.write_all(&part.to_le_bytes())?;
    }
    for field in [0, 0, LONGEST, LINKTYPE_ETHERNET] {
        file.write_all(&field.to_le_bytes())?;
    }
    for frame in &recording.frames {
        let length = frame.bytes.len() as u32;
        for field in [frame.time.as_secs() as u32, frame.time.subsec_nanos(), length, length] {
            file.write_all(&field.to_le_bytes())?;
        }
        file.write_all(&frame.bytes)?;
    }
    file.flush()
}
