//! Carrying a log to a client: what is there, and then what comes.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};

use crate::{
    error::EngineError,
    limits::LOG_ENTRIES,
    log::reader::LogReader,
    request::LogQuery,
    stream::{LogEntry, LogStream},
};

type Entries = mpsc::Sender<Result<LogEntry, EngineError>>;

/// Resolves when nothing more will be written.
pub(crate) type Ending = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Begins to read a log. `ending` resolves once the container has ended and its log is complete.
pub(crate) fn read(path: PathBuf, query: LogQuery, ending: Ending) -> LogStream {
    let (sender, entries) = mpsc::channel(LOG_ENTRIES);
    tokio::spawn(async move {
        if let Err(error) = carry(&path, query, ending, &sender).await {
            let _ = sender.send(Err(EngineError::io("read the log", path)(error))).await;
        }
    });
    LogStream { entries }
}

async fn carry(path: &Path, query: LogQuery, mut ending: Ending, sender: &Entries) -> io::Result<()> {
    // Watching begins before the first look, so that nothing falls in between.
    let watch = if query.follow { Some(Watch::new(path)?) } else { None };
    let opened = path.to_owned();
    let mut reader = blocking(move || LogReader::open(&opened, &query)).await?;
    loop {
        let complete = watch.is_none() || futures::FutureExt::now_or_never(&mut ending).is_some();
        reader = drain(reader, sender).await?;
        if complete || reader.has_ended() || sender.is_closed() {
            return Ok(());
        }
        let Some(watch) = &watch else { return Ok(()) };
        tokio::select! {
            changed = watch.changed() => changed?,
            () = &mut ending => {
                drain(reader, sender).await?;
                return Ok(());
            }
            () = sender.closed() => return Ok(()),
        }
    }
}

/// Sends all that is there for now.
async fn drain(mut reader: LogReader, sender: &Entries) -> io::Result<LogReader> {
    loop {
        let (back, batch) = blocking(move || {
            let batch = reader.batch()?;
            Ok((reader, batch))
        })
        .await?;
        reader = back;
        if batch.is_empty() {
            return Ok(reader);
        }
        for entry in batch {
            if sender.send(Ok(entry)).await.is_err() {
                return Ok(reader);
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Says when something was written in the directory of a log.
struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    #[allow(unsafe_code)]
    fn new(log: &Path) -> io::Result<Self> {
        let directory = log.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&fd, directory, WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::ONLYDIR)?;
        // SAFETY: an `OwnedFd` gives the same descriptor each time, open until it is dropped, and nobody else has it.
        Ok(Self(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?))
    }

    /// Waits for a change; several at once are one.
    async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        loop {
            match reader.next() {
                Ok(_) => {}
                Err(Errno::WOULDBLOCK) => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
