//! `rconctl image import`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use rcon_rpc::tonic::Request;
use tokio::{io::AsyncReadExt, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    connect::{Agent, answer},
    output::line,
    report::{Outcome, Report, local},
};

/// Size of the pieces an archive travels in.
const PIECE_BYTES: usize = 256 * 1024;

/// Example: tar -C rootfs -c . | rconctl image import --change 'CMD ["/bin/sh"]' - busybox
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// A tar archive (plain, gzip or zstd), or - for standard input
    file: String,
    /// NAME[:TAG] of the new image
    #[arg(default_value = "")]
    reference: String,
    /// Dockerfile instruction to apply (repeatable)
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Message kept in the image's history
    #[arg(short, long, default_value = "")]
    message: String,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let mut images = agent.images();
    let mut source: Box<dyn tokio::io::AsyncRead + Send + Unpin> = if args.file == "-" {
        Box::new(tokio::io::stdin())
    } else {
        Box::new(tokio::fs::File::open(&args.file).await.map_err(|e| local(format!("could not open archive `{}`", args.file), &e))?)
    };
    let (sender, receiver) = mpsc::channel(4);
    let head = v1::ImportHead { reference: args.reference, changes: args.change, message: args.message };
    let feeder = tokio::spawn(async move {
        // A closed channel means that the agent has answered already: its answer says why.
        if sender.send(v1::ImportRequest { part: Some(v1::import_request::Part::Head(head)) }).await.is_err() {
            return Ok(());
        }
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = source.read(&mut piece).await.map_err(|e| local("could not read the archive", &e))?;
            if length == 0 {
                return Ok::<(), Report>(());
            }
            let data = v1::import_request::Part::Data(piece[..length].to_vec().into());
            if sender.send(v1::ImportRequest { part: Some(data) }).await.is_err() {
                return Ok(());
            }
        }
    });
    let imported = answer(images.import(Request::new(ReceiverStream::new(receiver)))).await?;
    if let Ok(read) = feeder.await {
        read?;
    }
    line(imported.id)
}
