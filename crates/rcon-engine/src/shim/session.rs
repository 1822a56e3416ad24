//! The stream of an exec or attach, between a shim's connection and a pair of channels.

use bytes::Bytes;
use rcon_oci::shim::{Frame, FrameBuffer, MAX_DATA_BYTES, Request, Response, WindowSize};
use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
};

use crate::{
    limits::STREAM_FRAMES,
    shim::connection::{ShimError, next_frame, send},
    stream::{InputFrame, IoSession, OutputFrame},
};

pub(crate) type Input = mpsc::Receiver<InputFrame>;
pub(crate) type Output = mpsc::Sender<OutputFrame>;

/// The two ends of a session.
pub(crate) fn channels() -> (Output, Input, IoSession) {
    let (input, from_client) = mpsc::channel(STREAM_FRAMES);
    let (to_client, output) = mpsc::channel(STREAM_FRAMES);
    (to_client, from_client, IoSession { input, output })
}

/// Carries both directions until the process has ended, the shim hangs up, or the client lets go of the output.
pub(super) async fn run(read: OwnedReadHalf, write: OwnedWriteHalf, frames: FrameBuffer, input: Input, output: Output) {
    tokio::select! {
        outcome = down(read, frames, &output) => {
            if let Err(error) = outcome {
                tracing::debug!(%error, "the stream of a shim ended");
            }
        }
        () = output.closed() => {}
        () = up(write, input) => {}
    }
}

async fn down(mut read: OwnedReadHalf, mut frames: FrameBuffer, output: &Output) -> Result<(), ShimError> {
    while let Some(frame) = next_frame(&mut read, &mut frames).await? {
        let (frame, is_last) = match frame {
            Frame::Stdout(data) => (OutputFrame::Stdout(Bytes::from(data)), false),
            Frame::Stderr(data) => (OutputFrame::Stderr(Bytes::from(data)), false),
            Frame::Message(bytes) => match Response::from_bytes(&bytes) {
                Ok(Response::Exited { exit }) => (OutputFrame::Exit(exit.exit_code), true),
                Ok(Response::Lagged) => return Err(ShimError::Protocol("its reader was too slow".into())),
                // Meant for a later version of us.
                _ => continue,
            },
            Frame::Stdin(_) | Frame::StdinClosed => continue,
        };
        if output.send(frame).await.is_err() || is_last {
            return Ok(());
        }
    }
    Ok(())
}

/// Never returns: the process may have output long after its input has ended.
async fn up(mut write: OwnedWriteHalf, mut input: Input) {
    while let Some(frame) = input.recv().await {
        if send_input(&mut write, frame).await.is_err() {
            break;
        }
    }
    // Dropping the other half would hang up.
    let _write = write;
    // Whoever still sends must not wait for us.
    input.close();
    while input.recv().await.is_some() {}
    std::future::pending::<()>().await;
}

async fn send_input(write: &mut OwnedWriteHalf, frame: InputFrame) -> Result<(), ShimError> {
    let message = |request: Request| request.to_frame().map_err(|error| ShimError::Protocol(error.to_string()));
    match frame {
        InputFrame::Stdin(data) => {
            for piece in data.chunks(MAX_DATA_BYTES) {
                send(write, &Frame::Stdin(piece.to_vec())).await?;
            }
            Ok(())
        }
        InputFrame::StdinClosed => send(write, &Frame::StdinClosed).await,
        InputFrame::Resize(size) => {
            let size = WindowSize { rows: size.rows, columns: size.columns };
            send(write, &message(Request::Resize { size })?).await
        }
        InputFrame::Signal(signal) => send(write, &message(Request::Kill { signal })?).await,
    }
}
