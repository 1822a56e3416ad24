//! The service `Images`.

use rcon_engine::Engine;
use rcon_image::ImportRequest;
use rcon_proto::v1::{self, import_request::Part};
use rcon_rpc::{
    failure_to_status,
    tonic::{self, Request, Response, Status, Streaming},
    v1::images_server::Images,
};
use rcon_types::{Failure, FailureKind};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

/// How much of an archive may wait for the unpacking.
const ARCHIVE_BUFFER: usize = 1024 * 1024;

/// Images of this host.
pub struct ImagesService {
    engine: Engine,
}

impl ImagesService {
    /// The service over an engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

/// Copies the archive's pieces until the client says that they are all; a client that breaks off breaks the pipe.
async fn pump(mut pieces: Streaming<v1::ImportRequest>, mut archive: DuplexStream) -> Result<(), Status> {
    while let Some(message) = pieces.message().await? {
        if let Some(Part::Data(data)) = message.part
            && archive.write_all(&data).await.is_err()
        {
            // The other end has its answer already.
            return Ok(());
        }
    }
    let _ = archive.shutdown().await;
    Ok(())
}

#[tonic::async_trait]
impl Images for ImagesService {
    async fn import(&self, request: Request<Streaming<v1::ImportRequest>>) -> Result<Response<v1::ImportResponse>, Status> {
        let mut pieces = request.into_inner();
        let Some(v1::ImportRequest { part: Some(Part::Head(head)) }) = pieces.message().await? else {
            return Err(failure_to_status(Failure::new(FailureKind::InvalidArgument, "the first message of an import names the image")));
        };
        let asked = ImportRequest {
            reference: Some(head.reference).filter(|reference| !reference.is_empty()),
            changes: head.changes,
            message: head.message,
        };
        let (near, far) = duplex(ARCHIVE_BUFFER);
        let importing = self.engine.import_image(asked, far);
        let (pumped, imported) = tokio::join!(pump(pieces, near), importing);
        pumped?;
        let imported = imported.map_err(|e| failure_to_status(e.failure()))?;
        Ok(Response::new(v1::ImportResponse {
            id: imported.id.to_string(),
            reference: imported.reference.map(|r| r.to_string()).unwrap_or_default(),
        }))
    }

    async fn list(&self, _: Request<v1::ListImagesRequest>) -> Result<Response<v1::ListImagesResponse>, Status> {
        let images = self.engine.images();
        let listed = tokio::task::spawn_blocking(move || images.list()).await.map_err(|e| Status::internal(e.to_string()))?;
        let images = listed
            .iter()
            .map(|image| v1::ImageView {
                id: image.id.to_string(),
                references: image.references.iter().map(ToString::to_string).collect(),
                size_bytes: image.size_bytes,
                created_ms: image.created_ms,
            })
            .collect();
        Ok(Response::new(v1::ListImagesResponse { images }))
    }

    async fn remove(&self, request: Request<v1::RemoveImageRequest>) -> Result<Response<v1::RemoveImageResponse>, Status> {
        let asked = request.into_inner();
        let removed = self.engine.remove_image(&asked.image, asked.force).await.map_err(|e| failure_to_status(e.failure()))?;
        Ok(Response::new(v1::RemoveImageResponse {
            untagged: removed.untagged.iter().map(ToString::to_string).collect(),
            deleted: removed.deleted.iter().map(ToString::to_string).collect(),
        }))
    }
}
