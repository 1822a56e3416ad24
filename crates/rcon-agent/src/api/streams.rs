//! The streams of `attach` and `exec`: gRPC on one side, the engine's bounded queues on the other.

use rcon_engine::{InputFrame, IoSession, OutputFrame, WindowSize};
use rcon_proto::v1::{self, stream_down::Down, stream_up::Up};
use rcon_rpc::tonic::{Status, Streaming};
use rcon_types::{Failure, FailureKind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Pieces of output that may wait for a slow client before the process waits too.
const PIECES: usize = 16;

/// What the client receives.
pub type Output = ReceiverStream<Result<v1::StreamDown, Status>>;

fn down(down: Down) -> Result<v1::StreamDown, Status> {
    Ok(v1::StreamDown { down: Some(down) })
}

/// Joins a client and a process until the process ends or the client goes.
pub fn join(session: IoSession, client: Streaming<v1::StreamUp>) -> Output {
    let (sender, receiver) = mpsc::channel(PIECES);
    let IoSession { input, output } = session;
    let upward = tokio::spawn(feed(client, input));
    tokio::spawn(async move {
        drain(output, &sender).await;
        upward.abort();
    });
    ReceiverStream::new(receiver)
}

/// Copies what the client sends to the process. A client that ends its half has closed standard input.
async fn feed(mut client: Streaming<v1::StreamUp>, input: mpsc::Sender<InputFrame>) {
    while let Ok(Some(message)) = client.message().await {
        let frame = match message.up {
            Some(Up::Stdin(data)) => InputFrame::Stdin(data),
            Some(Up::StdinClosed(true)) => InputFrame::StdinClosed,
            Some(Up::Resize(size)) => InputFrame::Resize(window(size)),
            Some(Up::Signal(name)) => match rcon_engine::parse_signal(&name) {
                Ok(number) => InputFrame::Signal(number),
                Err(_) => continue,
            },
            _ => continue,
        };
        if input.send(frame).await.is_err() {
            return;
        }
    }
    // The process may have ended already.
    let _ = input.send(InputFrame::StdinClosed).await;
}

/// Copies what the process writes to the client, and its exit code last.
async fn drain(mut output: mpsc::Receiver<OutputFrame>, client: &mpsc::Sender<Result<v1::StreamDown, Status>>) {
    if client.send(down(Down::Ready(true))).await.is_err() {
        return;
    }
    while let Some(frame) = output.recv().await {
        let message = match frame {
            OutputFrame::Stdout(data) => Down::Stdout(data),
            OutputFrame::Stderr(data) => Down::Stderr(data),
            OutputFrame::Exit(code) => {
                // The client may have gone; there is nobody else to tell.
                let _ = client.send(down(Down::ExitCode(code))).await;
                return;
            }
        };
        if client.send(down(message)).await.is_err() {
            return;
        }
    }
    let lost = Failure::new(FailureKind::Internal, "the container's shim ended without an exit code");
    let _ = client.send(Err(rcon_rpc::failure_to_status(lost))).await;
}

/// The size of a terminal, kept within what terminals have.
pub fn window(size: v1::WindowSize) -> WindowSize {
    let clamp = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    WindowSize { rows: clamp(size.rows), columns: clamp(size.columns) }
}
