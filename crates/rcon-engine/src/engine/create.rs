//! Making a container.

use std::{fs, os::unix::fs::DirBuilderExt, sync::Arc};

use rcon_types::{ContainerId, ContainerName};

use crate::{
    engine::{Engine, Inner, blocking, container::Container, now_ms},
    error::EngineError,
    event::EventKind,
    names::random_name,
    paths::ContainerPaths,
    plan,
    request::{CreateRequest, Created},
};

/// Tries to find a free random name.
const NAME_ATTEMPTS: u32 = 64;

impl Engine {
    /// Makes a container; nothing of it runs yet.
    ///
    /// # Errors
    /// When the image is unknown, the name is taken, the request makes no sense, or the disk is full.
    pub async fn create(&self, request: CreateRequest) -> Result<Created, EngineError> {
        let inner = &self.inner;
        let _image_use = inner.image_use.read().await;
        let images = inner.images.clone();
        let wanted = request.image.clone();
        let image = blocking(move || {
            let image = images.resolve(&wanted)?;
            // A layer that was lost is unpacked again now, not at the start.
            images.layer_dirs(&image)?;
            Ok(image)
        })
        .await?;
        let id = random_id()?;
        let name = inner.reserve_name(&request.name, id)?;
        let made = inner.make(request, &image, id, &name).await;
        match made {
            Ok(container) => {
                inner.table().insert(container.clone());
                inner.tell(&container, EventKind::Created);
                Ok(Created { id, name, warnings: Vec::new() })
            }
            Err(error) => {
                inner.table().release(&name, id);
                let paths = inner.paths(id);
                // What is left is cleared at the next opening.
                let _ = blocking(move || fs::remove_dir_all(paths.dir()).map_err(EngineError::io("remove", paths.dir()))).await;
                Err(error)
            }
        }
    }
}

impl Inner {
    fn reserve_name(&self, asked: &str, id: ContainerId) -> Result<ContainerName, EngineError> {
        if !asked.is_empty() {
            let name = asked.parse()?;
            return self.table().reserve(&name, id).map(|()| name);
        }
        for attempt in 0.. {
            let name: ContainerName = random_name(random()?, attempt).parse()?;
            match self.table().reserve(&name, id) {
                Ok(()) => return Ok(name),
                Err(EngineError::NameTaken { .. }) if attempt < NAME_ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop has no end")
    }

    /// The directories and the record, at the same time: neither is of use without the other, and a half is cleared.
    async fn make(
        &self,
        request: CreateRequest,
        image: &rcon_image::Image,
        id: ContainerId,
        name: &ContainerName,
    ) -> Result<Arc<Container>, EngineError> {
        let record = plan::record(request, image, id, name.clone(), now_ms())?;
        let paths = self.paths(id);
        let (dirs, stored) = tokio::join!(blocking(move || make_dirs(&paths)), self.put(&record));
        if dirs.is_err() && stored.is_ok() {
            self.forget(id).await?;
        }
        dirs.and(stored)?;
        Ok(Arc::new(Container::new(record)))
    }
}

/// Makes the directories of a container, or those of them that are missing.
pub(super) fn make_dirs(paths: &ContainerPaths) -> Result<(), EngineError> {
    for (dir, mode) in
        [(paths.upper(), 0o755), (paths.work(), 0o700), (paths.merged(), 0o700), (paths.config(), 0o755), (paths.log_dir(), 0o700)]
    {
        // The container's own directory comes with the first of them, for root alone.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(paths.dir()).map_err(EngineError::io("make", paths.dir()))?;
        fs::DirBuilder::new().recursive(true).mode(mode).create(&dir).map_err(EngineError::io("make", &dir))?;
    }
    Ok(())
}

fn random_id() -> Result<ContainerId, EngineError> {
    // An id whose short form is all digits would be taken for a number here and there; Docker draws again, too.
    loop {
        let id = ContainerId::from_bytes(random()?);
        if !id.short().bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], EngineError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| EngineError::io("read", "/dev/urandom")(std::io::Error::other(error)))?;
    Ok(bytes)
}
