//! The values of settings: parsed once, then they cannot be wrong.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::engine::key::{EnvironmentKey, KeyError};

/// Why a text is no value of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// No currency's code.
    #[error("a currency is three letters A-Z, such as CNY")]
    Currency,
    /// No network.
    #[error("a network is an address, or address/prefix such as 10.0.0.0/8")]
    Network,
    /// A prefix longer than the address.
    #[error("a prefix is at most 32 for IPv4 and 128 for IPv6")]
    Prefix,
    /// A network that names an address inside it.
    #[error("the address has bits set beyond its prefix")]
    HostBits,
    /// No origin, or not as browsers write it.
    #[error(
        "an origin is `*` or scheme://host[:port] in lower case, without path, final slash or default port"
    )]
    Origin,
    /// No folder.
    #[error("a folder's name cannot be empty")]
    Folder,
    /// No time zone of this machine's list.
    #[error("no time zone of this name is known; names are such as UTC or Asia/Shanghai")]
    TimeZone,
    /// No log filter.
    #[error("a log filter is a level or directives such as info,huidu::store=debug")]
    LogFilter,
    /// No database's URL.
    #[error("a database is postgres://user:password@host/name or sqlite:file")]
    Database,
    /// No service's address.
    #[error("an address is http://host:port or https://host")]
    Url,
    /// No admin key.
    #[error("an admin key is 32 to 200 printable ASCII characters without blanks")]
    AdminKey,
    /// Fewer days than events may come and count.
    #[error(
        "rows are kept for ever (0) or for {KEPT_DAYS_MIN} to {KEPT_DAYS_MAX} days: events are taken for 31 days, and count in windows of up to 30 days after that"
    )]
    KeptDays,
    /// A list that needs something is empty.
    #[error("at least one is needed")]
    Empty,
    /// `*` beside others.
    #[error("`*` stands alone")]
    Star,
}

/// Fewest days that rows are kept: 31 in which events are taken, and the longest window, 720 hours.
const KEPT_DAYS_MIN: u32 = 61;
/// Most days that can be said.
const KEPT_DAYS_MAX: u32 = 36_500;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// How the ids of units are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum UnitIds {
    /// As sent.
    Plain,
    /// As a keyed hash.
    Hashed,
}

/// A currency's code: three letters A-Z.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Currency {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        <[u8; 3]>::try_from(text.as_bytes())
            .ok()
            .filter(|code| code.iter().all(u8::is_ascii_uppercase))
            .map(Self)
            .ok_or(ValueError::Currency)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A network: the addresses that share its first bits. IPv4 in IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u32,
}

impl Cidr {
    /// Whether `address` is inside.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && (line(address) ^ line(self.address)) & !host_mask(self.prefix) == 0
    }
}

/// The address at the top of 128 bits.
fn line(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The bits after the first `prefix` of 128.
fn host_mask(prefix: u32) -> u128 {
    u128::MAX.checked_shr(prefix).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let Ok(sent) = address.parse::<IpAddr>() else { return Err(ValueError::Network) };
        let bits = if sent.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(p) if !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) => {
                p.parse().ok().filter(|p| *p <= bits).ok_or(ValueError::Prefix)?
            }
            Some(_) => return Err(ValueError::Network),
        };
        if line(sent) & host_mask(prefix) & !host_mask(bits) != 0 {
            return Err(ValueError::HostBits);
        }
        let canonical = sent.to_canonical();
        if canonical.is_ipv4() == sent.is_ipv4() {
            return Ok(Self { address: sent, prefix });
        }
        // ::ffff:0:0/96 is the whole of IPv4; a shorter prefix would be a network of both kinds.
        let prefix = prefix.checked_sub(96).ok_or(ValueError::Network)?;
        Ok(Self { address: canonical, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An origin whose pages may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `*`: every page.
    Any,
    /// One, as browsers send it in `Origin`.
    Exact(Box<str>),
}

impl FromStr for Origin {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, rest) = text.split_once("://").ok_or(ValueError::Origin)?;
        let scheme_good = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
        if !scheme_good || !host_and_port(scheme, rest) {
            return Err(ValueError::Origin);
        }
        Ok(Self::Exact(text.into()))
    }
}

/// Whether `rest` is a host, with or without a port, as a browser writes it after `scheme`.
fn host_and_port(scheme: &str, rest: &str) -> bool {
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let port_good = port.is_none_or(|p| {
        let default = matches!((scheme, p), ("http", "80") | ("https", "443"));
        !default && !p.starts_with(['0', '+']) && p.parse::<u16>().is_ok()
    });
    let host_good = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok_and(|a| a.to_string() == v6),
        None => {
            let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
            !host.is_empty() && host.bytes().all(letter)
        }
    };
    port_good && host_good
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "*",
            Self::Exact(origin) => origin,
        })
    }
}

pub(super) fn environment(text: &str) -> Result<EnvironmentKey, KeyError> {
    EnvironmentKey::parse(text)
}

pub(super) fn folder(text: &str) -> Result<PathBuf, ValueError> {
    if text.is_empty() { Err(ValueError::Folder) } else { Ok(PathBuf::from(text)) }
}

pub(super) fn kept_days(text: &str) -> Result<u32, ValueError> {
    let days = text.parse().map_err(|_error| ValueError::KeptDays)?;
    let kept = days == 0 || (KEPT_DAYS_MIN..=KEPT_DAYS_MAX).contains(&days);
    kept.then_some(days).ok_or(ValueError::KeptDays)
}

pub(super) fn timezone(text: &str) -> Result<TimeZone, ValueError> {
    TimeZone::get(text).ok().filter(|z| z.iana_name().is_some()).ok_or(ValueError::TimeZone)
}

pub(super) fn log_filter(text: &str) -> Result<String, ValueError> {
    let read = tracing_subscriber::EnvFilter::try_new(text);
    read.ok().filter(|_| !text.trim().is_empty()).map(|_| text.to_owned()).ok_or(ValueError::LogFilter)
}

/// Takes any text: clap shows a refused value, so what is wrong with a secret is found out later.
#[expect(clippy::unnecessary_wraps, reason = "the form that clap takes")]
pub(super) fn secret(text: &str) -> Result<SecretString, ValueError> {
    Ok(SecretString::from(text))
}

/// Whether `text` can be the URL of a database.
pub(super) fn check_database(text: &str) -> Result<(), ValueError> {
    let known = ["postgres://", "postgresql://", "sqlite:"];
    let named = known.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if named { Ok(()) } else { Err(ValueError::Database) }
}

/// Whether `text` can be an admin key.
pub(super) fn check_admin_key(text: &str) -> Result<(), ValueError> {
    let good = (32..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if good { Ok(()) } else { Err(ValueError::AdminKey) }
}
