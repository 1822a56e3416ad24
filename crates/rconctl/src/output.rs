//! Tables, JSON and templates: how lists and objects are printed.

use std::io::{self, Write};

use clap::Args;
use serde_json::Value;

use crate::{
    report::{Outcome, Report, local},
    template,
};

/// The flags every listing verb has.
#[derive(Debug, Args, Clone, Default)]
pub struct ListFormat {
    /// `json` (one object a line), `table`, or a Go template such as '{{.Name}}'
    #[arg(long)]
    pub format: Option<String>,
    /// Print only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,
}

/// The flags every inspecting verb has.
#[derive(Debug, Args, Clone, Default)]
pub struct InspectFormat {
    /// `json`, or a Go template such as '{{.State.Status}}'
    #[arg(short, long)]
    pub format: Option<String>,
}

/// A column of a table: its heading, and the key of the row's JSON object it shows.
pub struct Column(pub &'static str, pub &'static str);

/// Prints rows as the flags say. The first column is the one that `--quiet` prints.
pub fn list(format: &ListFormat, columns: &[Column], rows: &[Value]) -> Outcome {
    let mut text = String::new();
    match format.format.as_deref() {
        _ if format.quiet => {
            for row in rows {
                text.push_str(&cell(row, columns[0].1));
                text.push('\n');
            }
        }
        Some("json") => {
            for row in rows {
                text.push_str(&row.to_string());
                text.push('\n');
            }
        }
        None | Some("table") => text = table(columns, rows),
        Some(template) => {
            for row in rows {
                text.push_str(&template::render(template, row)?);
                text.push('\n');
            }
        }
    }
    print(&text)
}

/// Prints inspected objects: an indented JSON array as Docker does, or each through a template.
pub fn inspect(format: &InspectFormat, objects: Vec<Value>) -> Outcome {
    match format.format.as_deref() {
        None | Some("json") => {
            let pretty =
                serde_json::to_string_pretty(&Value::Array(objects)).map_err(|e| local("could not print", &io::Error::other(e)))?;
            print(&format!("{pretty}\n"))
        }
        Some(template) => {
            let mut text = String::new();
            for object in &objects {
                text.push_str(&template::render(template, object)?);
                text.push('\n');
            }
            print(&text)
        }
    }
}

/// Prints a line; a reader that has gone is no failure.
pub fn line(text: impl std::fmt::Display) -> Outcome {
    print(&format!("{text}\n"))
}

/// Prints warnings of the agent to standard error.
pub fn warnings(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err::<_, Report>(local("could not print", &error)),
        _ => Ok(std::process::ExitCode::SUCCESS),
    }
}

fn cell(row: &Value, key: &str) -> String {
    match row.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn table(columns: &[Column], rows: &[Value]) -> String {
    let cells: Vec<Vec<String>> = rows.iter().map(|row| columns.iter().map(|column| cell(row, column.1)).collect()).collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(i, column)| cells.iter().map(|row| row[i].chars().count()).chain([column.0.len()]).max().unwrap_or(0))
        .collect();
    let heading: Vec<String> = columns.iter().map(|column| column.0.to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(&cells) {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("   ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [json!({"ID": "1", "Name": "a-long-name"}), json!({"ID": "22"})];
        assert_eq!(table(&[Column("ID", "ID"), Column("NAME", "Name")], &rows), "ID   NAME\n1    a-long-name\n22\n");
    }
}
