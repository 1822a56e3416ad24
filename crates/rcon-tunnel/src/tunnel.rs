//! A running tunnel: its sockets, its datapath, and its end.

use std::{sync::Arc, thread, time::Duration};

use crate::{
    Options, TunnelError,
    control_server::{self, Service},
    datapath::Datapath,
    handover::Inherited,
    state_file,
    threads::{Outcome, wait_readable},
};

/// A running tunnel; it ends when it is dropped.
#[derive(Debug)]
pub struct Tunnel {
    service: Arc<Service>,
    server: Option<thread::JoinHandle<()>>,
}

impl Tunnel {
    /// Starts a tunnel: takes over from one that runs, else attaches to the TAPs that its state file names; then serves the
    /// control socket. State that cannot be used is logged and left to the next `SetTables`.
    ///
    /// # Errors
    /// When the sockets cannot be had, or the running tunnel does not hand over.
    pub fn start(options: Options) -> Result<Self, TunnelError> {
        let inherited = Inherited::take_over(&options.control_socket)?;
        let outcome = Outcome::new()?;
        let datapath = Datapath::new(options.tap_namespace, inherited, Arc::clone(&outcome));
        match state_file::load(&options.state_file) {
            Ok(None) => {}
            Ok(Some(tables)) => {
                if let Err(error) = datapath.apply(tables) {
                    tracing::error!(failure = %error.failure(), "could not go on with the tables of the state file");
                }
            }
            Err(error) => tracing::error!(failure = %error.failure(), "could not use the state file"),
        }
        let path = options.control_socket;
        let control = control_server::bind(&path).map_err(|source| TunnelError::ControlSocket { path: path.clone(), source })?;
        let mut sockets = vec![path];
        let wg = match options.wg_socket {
            None => None,
            Some(path) => {
                let listener = control_server::bind(&path).map_err(|source| TunnelError::WgSocket { path: path.clone(), source })?;
                sockets.push(path);
                Some(listener)
            }
        };
        let service = Arc::new(Service { datapath, outcome, state_file: options.state_file, sockets });
        let serving = Arc::clone(&service);
        let server = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || control_server::run(&serving, &control, wg.as_ref()))
            .map_err(|source| TunnelError::Thread { operation: "start a thread", source })?;
        Ok(Self { service, server: Some(server) })
    }

    /// Readable once the tunnel is over by itself: told to stop, handed over, or failed.
    pub fn over(&self) -> &impl std::os::fd::AsFd {
        self.service.outcome.event()
    }

    /// Waits until the tunnel is over by itself, at most for `timeout`; tells whether it is.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        wait_readable([self.service.outcome.event()], timeout) == [true]
    }

    /// Ends the tunnel and says whether a thread of it had failed. The TAPs stay.
    ///
    /// # Errors
    /// The failure that has ended it.
    pub fn stop(mut self) -> Result<(), TunnelError> {
        self.shut_down();
        self.service.outcome.take_error().map_or(Ok(()), Err)
    }

    fn shut_down(&mut self) {
        // After a handover the sockets of that name are the successor's.
        if !self.service.datapath.has_ended() {
            self.service.remove_sockets();
        }
        self.service.outcome.end(None);
        self.service.datapath.stop();
        if let Some(server) = self.server.take() {
            // It does nothing that could panic but start threads.
            let _ = server.join();
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.shut_down();
        }
    }
}
