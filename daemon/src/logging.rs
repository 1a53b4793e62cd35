//! Where log lines go: standard error, as text for people or JSON for machines. What is logged is everybody's own business.

use tracing::Level;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, LogLevel, Logging};

/// Begins logging. Once per process.
pub fn begin(logging: Logging) {
    let level = match logging.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let lines = fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    match logging.format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
