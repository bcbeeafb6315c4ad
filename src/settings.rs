//! Every setting once: its name, default, variable and help.
//!
//! An argument goes before a `HUIDU_*` variable, that before `huidu.toml`, that before the default.
//! File and variables become the *defaults* of clap's arguments, so that precedence, parsing and
//! `--help` are the same for all of them. Nothing else in huidu reads the process environment.

mod client;
mod layers;
#[cfg(test)]
mod tests;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret, SecretString};

use crate::engine::key::EnvironmentKey;

pub use client::{ClientSettings, service_url};
pub use layers::{Origin as SettingOrigin, SettingsError, Surroundings, origins, parse_command};
pub use values::{Cidr, Currency, LogFormat, Origin, UnitIds, ValueError};

const SERVICE: &str = "Service";
const STORAGE: &str = "Storage";
const DECISIONS: &str = "Decisions and events";
const ACCESS: &str = "Access";
const LOGS: &str = "Logs and metrics";

/// The longest a stop may take, in seconds.
const SHUTDOWN_SECONDS_MAX: u64 = 15;
/// The least room for waiting events: one request body must fit.
const EVENT_QUEUE_BYTES_MIN: u64 = 1 << 20;

/// What a service is told at its start. Commands take it by `#[command(flatten)]`.
#[derive(clap::Args, Debug, Clone)]
pub struct Settings {
    /// File with settings; it must exist. Without it, huidu.toml of the working folder is read if there
    #[arg(long, value_name = "FILE", help_heading = SERVICE)]
    pub config: Option<PathBuf>,

    /// Address and port to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", help_heading = SERVICE)]
    pub listen: SocketAddr,

    /// Worker threads; 0 takes one for each core
    #[arg(long, value_name = "THREADS", default_value = "0", help_heading = SERVICE,
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=1_024))]
    pub workers: usize,

    /// Most connections open at a time
    #[arg(long, value_name = "CONNECTIONS", default_value = "10000", help_heading = SERVICE,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub connections_max: usize,

    /// Most streams of changes open at a time, beside `connections_max`; 0 offers none
    #[arg(long, value_name = "STREAMS", default_value = "10000", help_heading = SERVICE,
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=1_000_000))]
    pub streams_max: usize,

    /// Most streams of changes that one key has open at a time
    #[arg(long, value_name = "STREAMS", default_value = "5000", help_heading = SERVICE,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub streams_per_key_max: usize,

    /// Most seconds that a stop waits for requests under way (0 to 15)
    #[arg(long, value_name = "SECONDS", default_value = "10", help_heading = SERVICE,
          value_parser = RangedU64ValueParser::<u64>::new().range(0..=SHUTDOWN_SECONDS_MAX))]
    pub shutdown_seconds: u64,

    /// Folder of the embedded database and of the last good state; one service at a time holds it
    #[arg(long, value_name = "FOLDER", default_value = "huidu-data", help_heading = STORAGE,
          value_parser = values::folder)]
    pub data_dir: PathBuf,

    /// Database: `postgres://user:password@host/name` or `sqlite:file`; without it huidu.db in the data
    /// folder. One with a password belongs into the variable or the file: arguments can be seen by others
    #[arg(long, value_name = "URL", hide_default_value = true, hide_env_values = true, help_heading = STORAGE,
          value_parser = values::secret)]
    pub database_url: Option<SecretString>,

    /// Most connections to PostgreSQL
    #[arg(long, value_name = "CONNECTIONS", default_value = "8", help_heading = STORAGE,
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000))]
    pub database_connections: u32,

    /// Milliseconds after which a statement is given up
    #[arg(long, value_name = "MS", default_value = "3000", help_heading = STORAGE,
          value_parser = RangedU64ValueParser::<u64>::new().range(10..=600_000))]
    pub database_timeout_ms: u64,

    /// Days that exposures are kept; 0: for ever, otherwise 61 or more
    #[arg(long, value_name = "DAYS", default_value = "0", help_heading = STORAGE, value_parser = values::kept_days)]
    pub retention_days_exposures: u32,

    /// Days that steps are kept; 0: for ever, otherwise 61 or more, and no fewer than exposures
    #[arg(long, value_name = "DAYS", default_value = "0", help_heading = STORAGE, value_parser = values::kept_days)]
    pub retention_days_steps: u32,

    /// Days that the audit is kept; 0: for ever, otherwise 61 or more
    #[arg(long, value_name = "DAYS", default_value = "0", help_heading = STORAGE, value_parser = values::kept_days)]
    pub retention_days_audit: u32,

    /// Environment of keys of all environments when a request names none
    #[arg(long, value_name = "KEY", default_value = "production", help_heading = DECISIONS,
          value_parser = values::environment)]
    pub default_environment: EnvironmentKey,

    /// How unit ids are stored; fixed when the database is first used
    #[arg(long, value_name = "HOW", default_value = "plain", help_heading = DECISIONS)]
    pub unit_ids: UnitIds,

    /// Currencies that events may name, separated by commas
    #[arg(long, value_name = "CODES", default_value = "CNY", value_delimiter = ',', help_heading = DECISIONS)]
    pub currencies: Vec<Currency>,

    /// Time zone of days in reports
    #[arg(long, value_name = "ZONE", default_value = "UTC", help_heading = DECISIONS,
          value_parser = values::timezone)]
    pub timezone: TimeZone,

    /// Most events that wait to be written; beyond it they are refused with 503
    #[arg(long, value_name = "EVENTS", default_value = "100000", help_heading = DECISIONS,
          value_parser = RangedU64ValueParser::<usize>::new().range(1_000..=100_000_000))]
    pub event_queue_events: usize,

    /// Most bytes of events that wait to be written (1 MiB or more)
    #[arg(long, value_name = "BYTES", default_value = "67108864", help_heading = DECISIONS,
          value_parser = RangedU64ValueParser::<usize>::new().range(EVENT_QUEUE_BYTES_MIN..))]
    pub event_queue_bytes: usize,

    /// Most events written in one transaction
    #[arg(long, value_name = "EVENTS", default_value = "20000", help_heading = DECISIONS,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub event_batch_max: usize,

    /// Most ids that an audience may have
    #[arg(long, value_name = "IDS", default_value = "100000000", help_heading = DECISIONS,
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000_000_000))]
    pub audience_ids_max: u32,

    /// Bytes of memory that audiences may take in all; larger ones are read from the database, and 0 holds none
    #[arg(long, value_name = "BYTES", default_value = "536870912", help_heading = DECISIONS)]
    pub audience_memory_bytes: u64,

    /// Bytes of memberships that are kept of audiences that are read from the database
    #[arg(long, value_name = "BYTES", default_value = "67108864", help_heading = DECISIONS)]
    pub audience_cache_bytes: u64,

    /// Milliseconds that a decision waits for an audience that is read from the database
    #[arg(long, value_name = "MS", default_value = "200", help_heading = DECISIONS,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=60_000))]
    pub audience_timeout_ms: u64,

    /// Admin key that is added at start if unknown: 32 to 200 printable characters without blanks.
    /// Refused as an argument, since arguments can be seen by others: give the variable or the file
    #[arg(long, value_name = "KEY", hide_default_value = true, hide_env_values = true, help_heading = ACCESS,
          value_parser = values::secret)]
    pub bootstrap_admin_key: Option<SecretString>,

    /// Origins of web pages that may call, separated by commas, or `*` for all; none by default
    #[arg(long, value_name = "ORIGINS", value_delimiter = ',', help_heading = ACCESS)]
    pub cors_origins: Vec<Origin>,

    /// Addresses or networks (10.0.0.0/8) whose X-Forwarded-For counts, separated by commas; none by default
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', help_heading = ACCESS)]
    pub trusted_proxies: Vec<Cidr>,

    /// Failed authentications that one address may make in a minute
    #[arg(long, value_name = "NUMBER", default_value = "60", help_heading = ACCESS)]
    pub failed_auth_per_minute: NonZeroU32,

    /// Management writes that one key may make in a minute
    #[arg(long, value_name = "NUMBER", default_value = "600", help_heading = ACCESS)]
    pub writes_per_minute: NonZeroU32,

    /// How log lines are written
    #[arg(long, value_name = "FORMAT", default_value = "pretty", help_heading = LOGS)]
    pub log_format: LogFormat,

    /// What is logged: a level, or directives such as `info,huidu::store=debug`
    #[arg(long, value_name = "FILTER", default_value = "info,actix_server=warn,sqlx=warn", help_heading = LOGS,
          value_parser = values::log_filter)]
    pub log: String,

    /// Whether /metrics answers without a key
    #[arg(long, value_name = "BOOL", default_value = "false", help_heading = LOGS,
          num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub metrics_public: bool,
}

/// Settings alone: what a command without other arguments takes.
#[derive(clap::Parser, Debug)]
#[command(name = "huidu")]
struct Alone {
    #[command(flatten)]
    settings: Settings,
}

impl Settings {
    /// The settings that `arguments` (without a program name) and `surroundings` give.
    ///
    /// # Errors
    /// [`SettingsError`] as of [`parse_command`].
    pub fn parse<A: Into<OsString>>(
        arguments: impl IntoIterator<Item = A>,
        surroundings: &Surroundings,
    ) -> Result<Self, SettingsError> {
        let line = std::iter::once(OsString::from("huidu")).chain(arguments.into_iter().map(Into::into));
        parse_command::<Alone>(line, surroundings).map(|alone| alone.settings)
    }

    /// Where the data is: the setting `database_url`, or the embedded database of the data folder.
    #[must_use]
    pub fn database(&self) -> SecretString {
        self.database_url.clone().unwrap_or_else(|| {
            SecretString::from(format!("sqlite:{}", self.data_dir.join("huidu.db").display()))
        })
    }

    /// Whether steps go before the exposures that they belong to.
    #[must_use]
    pub fn drops_steps_early(&self) -> bool {
        let days = |days: u32| if days == 0 { u32::MAX } else { days };
        days(self.retention_days_steps) < days(self.retention_days_exposures)
    }

    /// Whether the data is in an embedded SQLite file (else in PostgreSQL).
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.database().expose_secret().starts_with("sqlite:")
    }
}
