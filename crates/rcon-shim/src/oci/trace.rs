//! The errors that libcontainer traces, as JSON lines in `--log`.
//!
//! Its processes hand each other only the outermost text of an error; what went wrong below it is in these events.

use std::{
    fmt::{self, Write as _},
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::OnceLock,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

static LOG: OnceLock<File> = OnceLock::new();

/// Sends errors to `log` from now on; also those of the processes that are forked later.
pub fn install(log: Option<&Path>) {
    let Some(path) = log else { return };
    let Ok(file) = OpenOptions::new().create(true).append(true).mode(0o600).open(path) else { return };
    if LOG.set(file).is_ok() {
        let _ = tracing::subscriber::set_global_default(ErrorLog);
    }
}

/// Appends `{"level":…,"msg":…}`, the form of runc's log.
pub fn write_line(level: &str, message: &str) {
    if let Some(mut file) = LOG.get() {
        let mut line = serde_json::json!({"level": level, "msg": message}).to_string();
        line.push('\n');
        let _ = file.write_all(line.as_bytes());
    }
}

struct ErrorLog;

impl Subscriber for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        write_line("trace", &text.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let separator = if self.0.is_empty() { "" } else { " " };
        let _ = if field.name() == "message" {
            write!(self.0, "{separator}{value:?}")
        } else {
            write!(self.0, "{separator}{}={value:?}", field.name())
        };
    }
}
