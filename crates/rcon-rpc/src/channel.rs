//! Channels: what a generated client is made of.

use std::{
    path::Path,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use rcon_identity::{Identity, IdentityError, JoinToken};
use rcon_types::NodeId;
use tonic::{
    body::Body,
    codegen::{
        Service,
        http::{Request, Response, Uri},
    },
    transport::Endpoint,
};

use crate::{Address, deadline, dial, limits};

/// A connection to one server, shared by its clones. It connects when first used and again when it broke; a request on a
/// server that cannot be reached fails within [`limits::CONNECT_TIMEOUT`]. Each request gets the deadline of its method.
#[derive(Clone, Debug)]
pub struct Channel {
    inner: tonic::transport::Channel,
}

/// A channel to a node of the cluster: to `expected`, or to whichever is at that address. Must be called inside a tokio runtime.
///
/// # Errors
/// When TLS cannot be set up.
pub fn connect(address: &Address, identity: &Arc<Identity>, expected: Option<NodeId>) -> Result<Channel, IdentityError> {
    let config = identity.client_config(expected)?;
    let address = address.clone();
    Ok(Channel::over(move || dial::tls(address.clone(), Arc::clone(&config))))
}

/// A channel to a manager of the cluster that the token is of. Any other server is refused in the handshake, so the secret is
/// never sent to it. Must be called inside a tokio runtime.
///
/// # Errors
/// When TLS cannot be set up.
pub fn connect_joining(address: &Address, token: &JoinToken) -> Result<Channel, IdentityError> {
    let config = rcon_identity::joining_config(token)?;
    let address = address.clone();
    Ok(Channel::over(move || dial::tls(address.clone(), Arc::clone(&config))))
}

/// A channel to the agent of this host. Must be called inside a tokio runtime.
#[must_use]
pub fn connect_unix(path: &Path) -> Channel {
    let path = path.to_owned();
    Channel::over(move || dial::unix(path.clone()))
}

impl Channel {
    /// A channel over whatever `connect` gives, each time a connection is needed.
    pub(crate) fn over<F, Connecting, S>(connect: F) -> Self
    where
        F: Fn() -> Connecting + Send + 'static,
        Connecting: Future<Output = Result<S, dial::ConnectError>> + Send + 'static,
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let connector = tower::service_fn(move |_: Uri| {
            let connecting = connect();
            async move { connecting.await.map(TokioIo::new) }
        });
        // The name is no address: it only fills the `:authority` of requests.
        let inner = Endpoint::from_static("http://rcon")
            .http2_keep_alive_interval(limits::CLIENT_KEEPALIVE)
            .keep_alive_timeout(limits::CLIENT_KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(limits::MAX_HEADER_BYTES)
            .connect_with_connector_lazy(connector);
        Self { inner }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <tonic::transport::Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        deadline::add(&path, request.headers_mut());
        self.inner.call(request)
    }
}
