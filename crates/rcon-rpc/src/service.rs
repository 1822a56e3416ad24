//! What all servers share: HTTP/2 settings, deadlines, and an end that comes even when a client does not let go.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot, watch},
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{
    Status,
    codegen::http::{Request, Response},
    service::Routes,
    transport::Server,
};
use tower::Layer;

use crate::{
    ServeError, deadline, failure_to_status,
    incoming::{Accepted, End},
    limits,
};

/// Handlers, and the queue of connections that are ready for them.
pub(crate) struct Service<S> {
    routes: Routes,
    accepted: mpsc::Receiver<Accepted<S>>,
    end: watch::Sender<bool>,
}

/// Tells the connections of a server when they must end.
#[derive(Clone)]
pub(crate) struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Completes when the server gives up on its open requests, or is gone.
    pub(crate) async fn wait(mut self) {
        // An error means that the server itself is gone.
        let _ = self.0.wait_for(|end| *end).await;
    }

    /// The same, for a connection to keep.
    pub(crate) fn boxed(self) -> End {
        Box::pin(self.wait())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Service<S> {
    pub(crate) fn new(routes: Routes) -> (Self, mpsc::Sender<Accepted<S>>) {
        let (sender, accepted) = mpsc::channel(limits::ACCEPTED_QUEUE);
        (Self { routes, accepted, end: watch::Sender::new(false) }, sender)
    }

    pub(crate) fn ending(&self) -> Ending {
        Ending(self.end.subscribe())
    }

    /// Serves what `accepting` puts into the queue until `shutdown` completes; then no new connection is taken, open requests
    /// have [`limits::SHUTDOWN_GRACE`], and what is left is cut.
    pub(crate) async fn run(
        self,
        accepting: impl Future<Output = ()> + Send,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let (stop, stopped) = oneshot::channel::<()>();
        let incoming = ReceiverStream::new(self.accepted).map(Ok::<_, Infallible>);
        let mut serving = pin!(server().add_routes(self.routes).serve_with_incoming_shutdown(incoming, async {
            // An error means the same: nobody wants this server any more.
            let _ = stopped.await;
        }));
        // Boxed, so that it can be dropped, and with it the listener, before the rest ends.
        let mut accepting = Box::pin(accepting);
        tokio::select! {
            result = &mut serving => return result.map_err(ServeError::Stopped),
            () = &mut accepting => {}
            () = shutdown => {}
        }
        drop(accepting);
        drop(stop);
        if let Ok(result) = tokio::time::timeout(limits::SHUTDOWN_GRACE, &mut serving).await {
            return result.map_err(ServeError::Stopped);
        }
        self.end.send_replace(true);
        match tokio::time::timeout(limits::SHUTDOWN_GRACE, serving).await {
            Ok(result) => result.map_err(ServeError::Stopped),
            Err(_) => {
                tracing::warn!("connections were still open when the server ended");
                Ok(())
            }
        }
    }
}

fn server() -> Server<tower::layer::util::Stack<Deadlines, tower::layer::util::Identity>> {
    Server::builder()
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits::MAX_STREAMS)
        .http2_max_header_list_size(limits::MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(limits::SERVER_KEEPALIVE))
        .http2_keepalive_timeout(Some(limits::SERVER_KEEPALIVE_TIMEOUT))
        .layer(Deadlines)
}

/// Gives each request that came without a deadline that of its method.
#[derive(Clone, Copy)]
struct Deadlines;

#[derive(Clone)]
struct WithDeadline<S>(S);

impl<S> Layer<S> for Deadlines {
    type Service = WithDeadline<S>;

    fn layer(&self, inner: S) -> WithDeadline<S> {
        WithDeadline(inner)
    }
}

impl<S, In, Out> tower::Service<Request<In>> for WithDeadline<S>
where
    S: tower::Service<Request<In>, Response = Response<Out>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    Out: Default + 'static,
{
    type Response = Response<Out>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Out>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let time = if request.headers().contains_key(deadline::TIMEOUT_HEADER) { None } else { deadline::of(request.uri().path()) };
        let handling = self.0.call(request);
        let Some(time) = time else { return Box::pin(handling) };
        Box::pin(async move {
            match tokio::time::timeout(time, handling).await {
                Ok(result) => result,
                Err(_) => Ok(too_late().into_http()),
            }
        })
    }
}

fn too_late() -> Status {
    failure_to_status(rcon_types::Failure::new(rcon_types::FailureKind::DeadlineExceeded, "the request took too long"))
}
