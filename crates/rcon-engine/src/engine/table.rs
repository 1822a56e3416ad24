//! The containers of this host by id and by name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rcon_image::{Digest, ImageId};
use rcon_types::{ContainerId, ContainerName};

use crate::{engine::container::Container, error::EngineError, limits::CONTAINERS};

/// All containers; a name is taken from its reservation to the end of its container.
#[derive(Default)]
pub(super) struct Table {
    containers: BTreeMap<ContainerId, Arc<Container>>,
    names: HashMap<ContainerName, ContainerId>,
}

impl Table {
    /// Takes a name for a container that is about to be.
    pub(super) fn reserve(&mut self, name: &ContainerName, id: ContainerId) -> Result<(), EngineError> {
        if self.names.len() >= CONTAINERS {
            return Err(EngineError::TooMany { what: "containers", limit: CONTAINERS });
        }
        match self.names.get(name) {
            Some(holder) => Err(EngineError::NameTaken { name: name.to_string(), holder: holder.short() }),
            None => {
                self.names.insert(name.clone(), id);
                Ok(())
            }
        }
    }

    /// Gives a name back whose container never came to be.
    pub(super) fn release(&mut self, name: &ContainerName, id: ContainerId) {
        if self.names.get(name) == Some(&id) {
            self.names.remove(name);
        }
    }

    /// Adds a container whose name is reserved, or free.
    pub(super) fn insert(&mut self, container: Arc<Container>) {
        self.names.insert(container.record().name.clone(), container.id);
        self.containers.insert(container.id, container);
    }

    pub(super) fn remove(&mut self, id: ContainerId) {
        if let Some(container) = self.containers.remove(&id) {
            self.release(&container.record().name, id);
        }
    }

    pub(super) fn get(&self, id: ContainerId) -> Option<Arc<Container>> {
        self.containers.get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Container>> {
        self.containers.values().cloned().collect()
    }

    /// Names of the containers made of an image.
    pub(super) fn users(&self, image: &ImageId) -> Vec<String> {
        let mut users: Vec<_> = self
            .containers
            .values()
            .map(|container| container.record())
            .filter(|record| record.image_id == *image)
            .map(|r| r.name.to_string())
            .collect();
        users.sort();
        users
    }

    /// Chain ids of the layers that containers stand on.
    pub(super) fn layers(&self) -> Vec<Digest> {
        self.containers.values().flat_map(|container| container.record().layers.clone()).collect()
    }

    /// By name, id, or start of an id.
    pub(super) fn resolve(&self, text: &str) -> Result<ContainerId, EngineError> {
        let by_name = text.parse::<ContainerName>().ok().and_then(|name| self.names.get(&name));
        if let Some(id) = by_name.filter(|id| self.containers.contains_key(id)) {
            return Ok(*id);
        }
        if text.is_empty() || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(EngineError::Unknown(text.to_owned()));
        }
        let mut fitting = self.containers.keys().filter(|id| id.to_string().starts_with(text));
        match (fitting.next(), fitting.count()) {
            (None, _) => Err(EngineError::Unknown(text.to_owned())),
            (Some(id), 0) => Ok(*id),
            (Some(_), more) => Err(EngineError::Ambiguous { prefix: text.to_owned(), count: more + 1 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    #[test]
    fn containers_are_found_by_name_first_and_by_start_of_id() {
        let mut table = Table::default();
        for (number, name) in [(0xaa, "web"), (0xab, "aa"), (0xcc, "db")] {
            table.insert(Arc::new(Container::new(record(number, name))));
        }
        let found = |text: &str| table.resolve(text).map(|id| id.short()[..2].to_owned());
        assert_eq!(found("web").unwrap(), "aa");
        assert_eq!(found("aa").unwrap(), "ab", "a name wins");
        assert_eq!(found("c").unwrap(), "cc");
        assert_eq!(found(&"ab".repeat(32)).unwrap(), "ab");
        assert!(matches!(found("a"), Err(EngineError::Ambiguous { count: 2, .. })));
        for text in ["", "nobody", "ad", "../web"] {
            assert!(matches!(found(text), Err(EngineError::Unknown(_))), "{text}");
        }
    }

    #[test]
    fn a_name_is_taken_once_and_free_again_when_its_container_goes() {
        let mut table = Table::default();
        let [first, second] = [record(1, "web"), record(2, "web")];
        table.reserve(&first.name, first.id).unwrap();
        assert!(table.resolve("web").is_err(), "not before it is there");
        let error = table.reserve(&second.name, second.id).unwrap_err();
        assert!(error.to_string().contains(&first.id.short()), "{error}");
        table.release(&second.name, second.id);
        table.insert(Arc::new(Container::new(first.clone())));
        table.remove(first.id);
        table.reserve(&second.name, second.id).unwrap();
        assert!(table.users(&first.image_id).is_empty());
    }
}
