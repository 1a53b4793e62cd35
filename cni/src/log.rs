//! [`Log`]: what became of a request, for people, where the configuration says: `"logFile": "/var/log/towpath.log"`, or
//! `"logFile": "journal"`; `logLevel` is `error`, `info` (the default) or `debug`. Never on standard output, which is the
//! runtime's; and whatever is wrong with it never fails a request.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use serde_json::Value;

use crate::document::Document;
use crate::environment::Environment;
use crate::error::Error;
use crate::plugin::Plugin;

/// Where journald listens, systemd-journald.service(8).
const JOURNAL: &str = "/run/systemd/journal/socket";
const SECS_OF_DAY: u64 = 86_400;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error,
    Info,
    Debug,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sink {
    Nowhere,
    File(PathBuf),
    Journal(PathBuf),
}

/// Where a request is told of.
#[derive(Clone, Debug)]
pub struct Log {
    sink: Sink,
    level: Level,
    begun: Instant,
    configuration: Option<String>,
}

impl Log {
    /// As the configuration says; nowhere when it says nothing, or nothing that can be meant.
    pub fn of(document: Option<&Document>) -> Log {
        let text = |key| document.and_then(|document| document.root().get(key)?.as_str()).unwrap_or_default();
        let sink = match text("logFile") {
            "journal" => Sink::Journal(JOURNAL.into()),
            path if Path::new(path).is_absolute() && !path.contains('\0') => Sink::File(path.into()),
            _ => Sink::Nowhere,
        };
        let level = match text("logLevel").to_ascii_lowercase().as_str() {
            "error" | "panic" | "fatal" => Level::Error,
            "debug" | "verbose" | "trace" => Level::Debug,
            _ => Level::Info,
        };
        let told = sink != Sink::Nowhere && level == Level::Debug;
        let configuration = document.filter(|_| told).map(Document::to_text);
        Log { sink, level, begun: Instant::now(), configuration }
    }

    /// Tells what became of a request.
    pub fn outcome(&self, (plugin, environment): (Plugin, &Environment), answer: &Result<Option<Value>, Error>) {
        let level = if answer.is_ok() { Level::Info } else { Level::Error };
        if self.sink == Sink::Nowhere || level > self.level {
            return;
        }
        let shown = |value: &std::ffi::OsString| value.to_string_lossy().escape_debug().to_string();
        let what = match answer {
            Ok(_) => format!("done in {:.1} ms", self.begun.elapsed().as_secs_f64() * 1e3),
            Err(error) => format!("failed with {}: {}", error.code(), error.to_string().escape_debug()),
        };
        let mut lines = vec![format!(
            "{} {} {}/{} {}: {what}",
            plugin.name(),
            shown(&environment.command),
            shown(&environment.container),
            shown(&environment.ifname),
            shown(&environment.netns),
        )];
        lines.extend(self.configuration.as_ref().map(|text| format!("  configuration {text}")));
        if let (Level::Debug, Ok(Some(result))) = (self.level, answer) {
            lines.push(format!("  result {result}"));
        }
        if let Err(error) = self.write(level, &lines) {
            // Runtimes show it when something else fails.
            eprintln!("towpath: cannot write the log that `logFile` names: {error}");
        }
    }

    fn write(&self, level: Level, lines: &[String]) -> io::Result<()> {
        match &self.sink {
            Sink::Nowhere => Ok(()),
            Sink::File(path) => {
                let stamp = stamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
                let word = if level == Level::Error { "error" } else { "info" };
                let text: String =
                    lines.iter().map(|line| format!("{stamp} {word} [{}] {line}\n", std::process::id())).collect();
                // One write of all of it, so that the lines of two pods do not mix; never waiting for a reader of a FIFO.
                let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32;
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o640).custom_flags(flags);
                options.open(path)?.write_all(text.as_bytes())
            }
            Sink::Journal(socket) => {
                // Journal export: a line is a field; what has line ends itself would need a length, ours never has.
                let priority = if level == Level::Error { 3 } else { 6 };
                let journal = UnixDatagram::unbound()?;
                journal.set_nonblocking(true)?;
                for line in lines {
                    let entry = format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=towpath\nMESSAGE={line}\n");
                    journal.send_to(entry.as_bytes(), socket)?;
                }
                Ok(())
            }
        }
    }
}

/// A moment since 1970 as RFC 3339 has it, in UTC.
fn stamp(since: std::time::Duration) -> String {
    let (days, secs) = (since.as_secs() / SECS_OF_DAY, since.as_secs() % SECS_OF_DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second, millis) = (secs / 3600, secs / 60 % 60, secs % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The date of a day since 1970-01-01, by the Gregorian calendar. Years begin in March here, so that a leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    // Days from 0000-03-01 to 1970-01-01; 146,097 are in 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use super::*;

    fn log(config: &str) -> Log {
        Log::of(Some(&Document::parse(config.as_bytes()).unwrap()))
    }

    #[test]
    fn a_moment_is_written_as_people_read_it() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z"),
            (1_795_273_994, "2026-11-21T15:13:14.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(stamp(Duration::from_millis(secs * 1000 + 7)), text);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_logged_nowhere() {
        for config in ["{}", r#"{"logFile": "relative"}"#, r#"{"logFile": 5}"#, r#"{"logFile": "/a\u0000"}"#] {
            assert_eq!(log(config).sink, Sink::Nowhere, "{config}");
        }
        assert_eq!(log(r#"{"logFile": "/x", "logLevel": "Debug"}"#).level, Level::Debug);
        assert_eq!(log(r#"{"logFile": "journal", "logLevel": 7}"#).level, Level::Info);
    }

    #[test]
    fn the_journal_gets_a_message_with_its_priority() {
        let path = std::env::temp_dir().join(format!("towjournal{}", std::process::id()));
        let journal = UnixDatagram::bind(&path).unwrap();
        let log = Log { sink: Sink::Journal(path.clone()), ..log("{}") };
        let environment = Environment { command: "ADD".into(), container: "c\n1".into(), ..Environment::default() };
        log.outcome((Plugin::Bridge, &environment), &Err(Error::Decode { what: "a\nb".to_owned() }));
        let mut buffer = [0; 1000];
        let length = journal.recv(&mut buffer).unwrap();
        std::fs::remove_file(path).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(
            text.starts_with("PRIORITY=3\nSYSLOG_IDENTIFIER=towpath\nMESSAGE=bridge ADD c\\n1/ : failed with 6: "),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
    }
}
