//! Images, seen from a world that does not block.

use std::io::{self, Read};

use bytes::Bytes;
use rcon_image::{ImportRequest, Imported, Removed, Usage};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
};

use crate::{
    engine::{Engine, blocking},
    error::EngineError,
    limits::IMPORT_PIECES,
};

/// Bytes of an archive that are carried at a time.
const PIECE_BYTES: usize = 128 * 1024;

impl Engine {
    /// Makes an image of a root file system as a tar stream, plain or compressed with gzip or zstd.
    ///
    /// # Errors
    /// When the request or the archive is bad, or the disk is full; nothing is kept then.
    pub async fn import_image(
        &self,
        request: ImportRequest,
        mut archive: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<Imported, EngineError> {
        let (sender, pieces) = mpsc::channel::<io::Result<Bytes>>(IMPORT_PIECES);
        let images = self.inner.images.clone();
        let importing = blocking(move || {
            let mut reader = PieceReader { pieces, current: Bytes::new(), ended: false };
            Ok(images.import(&request, &mut reader)?)
        });
        let carrying = async move {
            loop {
                let mut piece = bytes::BytesMut::with_capacity(PIECE_BYTES);
                let piece = match archive.read_buf(&mut piece).await {
                    Ok(_) => Ok(piece.freeze()),
                    Err(error) => Err(error),
                };
                let is_last = piece.as_ref().map_or(true, Bytes::is_empty);
                // An import that has failed does not read on.
                if sender.send(piece).await.is_err() || is_last {
                    return;
                }
            }
        };
        tokio::join!(importing, carrying).0
    }

    /// Takes a name from an image; the image goes with its last name, or at once when named by its id.
    ///
    /// # Errors
    /// When there is none, or containers are made of it.
    pub async fn remove_image(&self, image: &str, force: bool) -> Result<Removed, EngineError> {
        let _image_use = self.inner.image_use.write().await;
        let (inner, image) = (self.inner.clone(), image.to_owned());
        blocking(move || {
            let layers = inner.table().layers();
            let usage = Usage { users: &|id| inner.table().users(id), layers: &layers };
            Ok(inner.images.remove(&image, force, &usage)?)
        })
        .await
    }
}

/// The blocking end of a stream. An empty piece is the end; a stream that ends without one was broken off.
struct PieceReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    ended: bool,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => {
                    self.ended = piece.is_empty();
                    self.current = piece;
                }
                Some(Err(error)) => return Err(error),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let read = self.current.len().min(buffer.len());
        buffer[..read].copy_from_slice(&self.current.split_to(read));
        Ok(read)
    }
}
