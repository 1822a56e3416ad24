//! The local API: what `rconctl` asks over the unix socket. Each service is thin: it parses, calls the agent's parts and prints views.

mod containers;
mod host_networks;
mod images;
mod streams;
mod swarm;
mod system;
mod view;

pub use containers::ContainersService;
pub use host_networks::HostNetworksService;
pub use images::ImagesService;
pub use swarm::SwarmService;
pub use system::SystemService;
