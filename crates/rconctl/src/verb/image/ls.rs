//! `rconctl image ls`

use clap::Args as ClapArgs;
use rcon_proto::v1;
use serde_json::json;

use crate::{
    connect::{Agent, answer},
    output::{Column, ListFormat, list},
    reference::{age_text, shorten, size_text},
    report::Outcome,
};

/// Example: rconctl images --format '{{.Repository}}:{{.Tag}}'
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    format: ListFormat,
}

/// Runs the verb.
pub async fn run(args: Args, agent: &Agent) -> Outcome {
    let answer = answer(agent.images().list(v1::ListImagesRequest {})).await?;
    let mut rows = Vec::new();
    for image in &answer.images {
        let untagged = ["<none>:<none>".to_owned()];
        let references = if image.references.is_empty() { &untagged[..] } else { &image.references[..] };
        for reference in references {
            let (repository, tag) = reference.rsplit_once(':').unwrap_or((reference, ""));
            rows.push(json!({
                "ID": shorten(image.id.clone(), args.format.no_trunc),
                "Repository": repository,
                "Tag": tag,
                "CreatedSince": age_text(image.created_ms),
                "Size": size_text(image.size_bytes),
                "Bytes": image.size_bytes,
            }));
        }
    }
    let columns = [
        Column("IMAGE ID", "ID"),
        Column("REPOSITORY", "Repository"),
        Column("TAG", "Tag"),
        Column("CREATED", "CreatedSince"),
        Column("SIZE", "Size"),
    ];
    list(&args.format, &columns, &rows)
}
