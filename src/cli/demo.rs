//! `huidu demo`: a service in a folder of its own that goes with it, and simulated shoppers through a ramp.

mod drive;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use clap::builder::RangedU64ValueParser;

use super::output::{complain, say};
use super::serve::{Serving, serve_by};
use crate::clock::{Clock as _, DAY_MS, HOUR_MS, MachineClock, SetClock};
use crate::demo::TRUTHS;
use crate::settings::{Settings, Surroundings};
use drive::{Drive, Keys, Pace};

/// What the command takes.
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct DemoArguments {
    /// Address and port to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// How many days ago the ramp began
    #[arg(long, value_name = "DAYS", default_value = "14",
          value_parser = RangedU64ValueParser::<u32>::new().range(2..=28))]
    days: u32,

    /// Shoppers a second while those days are caught up
    #[arg(long, value_name = "SHOPPERS", default_value = "500",
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=20_000))]
    rate: u32,

    /// How much faster time goes until the present is reached
    #[arg(long, value_name = "FACTOR", default_value = "24192",
          value_parser = RangedU64ValueParser::<u32>::new().range(60..=1_000_000))]
    compression: u32,

    /// Shoppers a second from then on
    #[arg(long, value_name = "SHOPPERS", default_value = "20",
          value_parser = RangedU64ValueParser::<u32>::new().range(0..=5_000))]
    live_rate: u32,

    /// Which shoppers: the same seed gives the same
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    seed: u64,
}

const HELP: &str = "Nothing is kept: the folder is deleted at the end. Settings of a service (huidu.toml, HUIDU_*) do not count here. \
    The keys and the truth that a report should find are printed; /metrics answers without a key.";

pub(super) fn run(arguments: &DemoArguments) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("huidu-demo-").tempdir();
    let folder = folder.context("a temporary folder cannot be made")?;
    let data = folder.path().join("data");
    let lines = [
        format!("--data-dir={}", data.display()),
        format!("--listen={}", arguments.listen),
        "--metrics-public=true".to_owned(),
        "--log=warn".to_owned(),
    ];
    let alone = Surroundings { folder: folder.path().to_owned(), variables: Vec::new() };
    let settings = Settings::parse(lines, &alone)?;
    let days_ms = i64::from(arguments.days) * DAY_MS;
    let begins_ms = (MachineClock.now_ms() - days_ms).div_euclid(HOUR_MS) * HOUR_MS;
    let clock = SetClock::at(begins_ms);
    let pace = Pace {
        begins_ms,
        days: arguments.days,
        rate: arguments.rate,
        compression: arguments.compression,
        live_rate: arguments.live_rate,
        seed: arguments.seed,
    };
    let hand = clock.clone();
    serve_by(settings, clock, move |serving| begin(serving, pace, hand))
}

/// Tells what there is to see, and lets the shoppers come.
fn begin(serving: &Serving<'_>, pace: Pace, clock: Arc<SetClock>) {
    let keys = serving.first_keys.and_then(|keys| {
        let (client, server) = (keys.client.clone(), keys.server.clone());
        keys.admin.clone().map(|admin| Keys { admin, client, server })
    });
    let Some(keys) = keys else { return };
    say("The truth, which the reports should find:\n");
    for truth in TRUTHS {
        say(&format!(
            "  {} {}: {:+.1} points of orders, {:+.1} points of complaints",
            truth.flag,
            truth.variant,
            truth.order_effect * 100.0,
            truth.complaint_effect * 100.0
        ));
    }
    say(&format!(
        "\nThe shoppers of {} days come in about {} seconds, then {} a second. Control-C ends it.",
        pace.days,
        i64::from(pace.days) * 86_400 / i64::from(pace.compression),
        pace.live_rate
    ));
    let (address, stopping) = (serving.address, serving.stopping.clone());
    // Nothing waits for it: it ends with the process.
    std::thread::spawn(move || {
        let outcome = Drive::new(address, &keys, pace, clock).and_then(Drive::run);
        if let Err(error) = outcome
            && !stopping.load(Ordering::SeqCst)
        {
            complain(&format!("huidu: the simulated shoppers stopped: {error:#}"));
        }
    });
}
