//! `huidu eval`: decides a flag of a file for one context with the service's own evaluator, and no service.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::UsageError;
use super::flag_file::{Assembled, FileFault, FlagFile, assemble, read_file};
use super::output::{Output, Tone, complain, read_input, say, say_json};
use super::trace;
use crate::audiences::{Format, parse};
use crate::clock::{Clock as _, MachineClock, parse_rfc3339};
use crate::engine::context::{Context, parse_ofrep};
use crate::engine::decision::Decision;
use crate::engine::evaluate::evaluate;
use crate::engine::explain::{Recorder, decision_json};
use crate::engine::key::{AudienceKey, FlagKey, VariantKey};
use crate::engine::membership::NothingFetched;

/// Arguments of `huidu eval`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 decided (and as expected); 1 no decision, another variant than expected, or faults in a file; \
    2 wrong arguments.\n\nExample: huidu eval --flag-file examples/wechat-scan-pay.json --audience wechat-testers=testers.txt \
    --audience wechat-excluded-goods=/dev/null --context shopper.json --trace"
)]
pub(super) struct EvalArguments {
    /// File with a flag's document; further ones are its prerequisites
    #[arg(long, value_name = "FILE", required = true)]
    flag_file: Vec<PathBuf>,
    /// Which flag of the files is decided; the first where left out
    #[arg(long, value_name = "KEY", value_parser = FlagKey::parse)]
    flag: Option<FlagKey>,
    /// File with the context in OFREP form, `-` for standard input; an empty context where left out
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
    /// Ids of an audience, one a line (.csv and .ndjson as for uploads). One that is asked for and not given cannot be read
    #[arg(long, value_name = "KEY=FILE", value_parser = audience)]
    audience: Vec<(AudienceKey, PathBuf)>,
    /// Salt of flags whose file gives none; their key where left out
    #[arg(long, value_name = "TEXT")]
    salt: Option<String>,
    /// Decide as at this time (RFC 3339), for flags with an end; now where left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<i64>,
    /// Show every step that led to the decision
    #[arg(long)]
    trace: bool,
    /// Fail unless this variant is served
    #[arg(long, value_name = "VARIANT", value_parser = VariantKey::parse)]
    expect: Option<VariantKey>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

fn audience(text: &str) -> Result<(AudienceKey, PathBuf), String> {
    let (key, file) = text.split_once('=').ok_or("an audience is given as KEY=FILE")?;
    let key = AudienceKey::parse(key).map_err(|error| error.to_string())?;
    if file.is_empty() { Err("the file is missing after `=`".to_owned()) } else { Ok((key, file.into())) }
}

fn time(text: &str) -> Result<i64, String> {
    parse_rfc3339(text).ok_or_else(|| "a time is RFC 3339, such as 2026-12-31T16:00:00Z".to_owned())
}

pub(super) fn run(arguments: &EvalArguments, output: Output) -> anyhow::Result<ExitCode> {
    only_one_from_standard_input(arguments)?;
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for path in &arguments.flag_file {
        match read_file(path, arguments.salt.as_deref())? {
            Ok(file) => files.push(file),
            Err(found) => faults.extend(found),
        }
    }
    let now_ms = arguments.at.unwrap_or_else(|| MachineClock.now_ms());
    if faults.is_empty() {
        let audiences = read_audiences(&arguments.audience)?;
        match assemble(&files, &audiences, now_ms)? {
            Ok(assembled) => return decide(arguments, &files, &assembled, output),
            Err(found) => faults = found,
        }
    }
    report(&faults, arguments.json, output);
    Ok(ExitCode::FAILURE)
}

fn only_one_from_standard_input(arguments: &EvalArguments) -> anyhow::Result<()> {
    let files = arguments.flag_file.iter().chain(&arguments.context);
    let files = files.chain(arguments.audience.iter().map(|(_, file)| file));
    if files.filter(|file| *file == Path::new("-")).count() > 1 {
        return Err(UsageError("only one file can be `-`, standard input".to_owned()).into());
    }
    Ok(())
}

fn read_audiences(given: &[(AudienceKey, PathBuf)]) -> anyhow::Result<Vec<(AudienceKey, Vec<String>)>> {
    let mut audiences = Vec::with_capacity(given.len());
    for (key, file) in given {
        let bytes = read_input(file)?;
        let ids = parse(format_of(file), &bytes).with_context(|| file.display().to_string())?;
        audiences.push((key.clone(), ids));
    }
    Ok(audiences)
}

/// How a file of ids is written, by the end of its name.
pub(super) fn format_of(file: &Path) -> Format {
    let name = file.to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    if name.ends_with(".csv") {
        Format::Csv
    } else if name.ends_with(".ndjson") || name.ends_with(".jsonl") {
        Format::Ndjson
    } else {
        Format::Text
    }
}

/// All faults, with the place of each.
fn report(faults: &[FileFault], as_json: bool, output: Output) {
    if as_json {
        say_json(&json!({"errors": faults.iter().map(FileFault::json).collect::<Vec<_>>()}));
        return;
    }
    let mut last = None;
    for FileFault { path, fault } in faults {
        if last != Some(path) {
            let own = faults.iter().filter(|other| other.path == *path).count();
            let count = if own == 1 { "1 fault".to_owned() } else { format!("{own} faults") };
            complain(&format!("{}: {count}", path.display()));
            last = Some(path);
        }
        let pointer = if fault.pointer.is_empty() { "/" } else { &fault.pointer };
        complain(&format!("  {pointer}  {}: {}", output.tone(Tone::Bad, fault.code), fault.detail));
    }
}

/// The body that the evaluator's parser reads, from a context alone or a whole body of OFREP.
fn body(bytes: &[u8]) -> Vec<u8> {
    let whole = serde_json::from_slice::<Value>(bytes).ok();
    let is_body = whole.and_then(|value| Some(value.get("context")?.is_object())).unwrap_or_default();
    if is_body { bytes.to_vec() } else { [b"{\"context\":", bytes, b"}"].concat() }
}

fn decide(
    arguments: &EvalArguments,
    files: &[FlagFile],
    assembled: &Assembled,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let snapshot = &assembled.snapshot;
    let key = match (&arguments.flag, files.first()) {
        (Some(key), _) => key,
        (None, Some(first)) => first.key(),
        (None, None) => bail!("no file was given"),
    };
    let flag = snapshot.find(key.as_str()).with_context(|| format!("no file has the flag {key:?}"))?;
    let bytes = match &arguments.context {
        Some(file) => read_input(file)?,
        None => b"{}".to_vec(),
    };
    let body = body(&bytes);
    let parsed =
        parse_ofrep(&body, snapshot.attributes()).map_err(|error| anyhow::anyhow!("the context: {error}"))?;
    let mut recorder = Recorder::new(snapshot);
    let decision = evaluate(snapshot, flag, &parsed.context, &NothingFetched, &mut recorder);
    let shown = decision_value(&decision, &parsed.context);
    let steps = arguments.trace.then(|| recorder.steps());
    if arguments.json {
        let warnings: Vec<String> = doubts(files, assembled);
        let mut answer = json!({"flag": flag.key, "decision": shown, "warnings": warnings});
        if let (Value::Object(answer), Some(steps)) = (&mut answer, steps) {
            answer.insert("trace".into(), steps.into());
        }
        say_json(&answer);
    } else {
        for doubt in doubts(files, assembled) {
            complain(&format!("huidu: {doubt}"));
        }
        let mut lines = trace::decision(flag.key.as_str(), &shown, output);
        if let Some(steps) = steps {
            lines.push(String::new());
            lines.extend(trace::trace(&steps, output));
        }
        say(&lines.join("\n"));
    }
    outcome(&decision, arguments.expect.as_ref())
}

/// The decision with its value and goods.
fn decision_value(decision: &Decision<'_>, context: &Context<'_>) -> Value {
    let mut shown = decision_json(decision);
    let Value::Object(object) = &mut shown else { return shown };
    if let Some(variant) = decision.variant() {
        object.insert("value".into(), serde_json::from_str(&variant.json).unwrap_or_default());
    }
    if let Some(eligibility) = decision.goods {
        let goods = context.goods().unwrap_or_default().iter().enumerate();
        let (eligible, ineligible): (Vec<_>, Vec<_>) =
            goods.map(|(at, item)| (at, item.id())).partition(|(at, _)| eligibility.is_eligible(*at));
        let ids =
            |list: Vec<(usize, &str)>| list.into_iter().map(|(_, id)| id.to_owned()).collect::<Vec<_>>();
        object.insert("goods".into(), json!({"eligible": ids(eligible), "ineligible": ids(ineligible)}));
    }
    shown
}

/// What the reader should know of the result.
fn doubts(files: &[FlagFile], assembled: &Assembled) -> Vec<String> {
    let unsalted = files.iter().filter(|file| !file.has_salt).map(|file| {
        format!(
            "{}: no salt: buckets are those of another salt than the service's, which `huidu flag get --document` shows",
            file.path.display()
        )
    });
    let not_given = assembled
        .not_given
        .iter()
        .map(|key| format!("the audience {key} was not given, so it cannot be read: --audience {key}=FILE"));
    let warnings = assembled.warnings.iter().map(|(path, warning)| {
        format!("{}: {} {}: {}", path.display(), warning.pointer, warning.code, warning.detail)
    });
    unsalted.chain(not_given).chain(warnings).collect()
}

fn outcome(decision: &Decision<'_>, expected: Option<&VariantKey>) -> anyhow::Result<ExitCode> {
    let Some(variant) = decision.variant() else { return Ok(ExitCode::FAILURE) };
    match expected {
        Some(expected) if *expected != variant.key => {
            bail!("expected the variant {expected}, but {} is served", variant.key)
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_may_be_a_whole_body() {
        for (text, expected) in [
            ("{\"targetingKey\":\"u\"}", "{\"context\":{\"targetingKey\":\"u\"}}"),
            ("{\"context\":{\"targetingKey\":\"u\"}}", "{\"context\":{\"targetingKey\":\"u\"}}"),
            ("{\"context\":\"home\"}", "{\"context\":{\"context\":\"home\"}}"),
            ("{", "{\"context\":{}"),
        ] {
            assert_eq!(body(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn a_file_of_ids_is_read_by_its_name() {
        for (name, format) in [
            ("ids.txt", Format::Text),
            ("ids", Format::Text),
            ("ids.CSV", Format::Csv),
            ("ids.csv.gz", Format::Csv),
            ("ids.ndjson", Format::Ndjson),
            ("ids.jsonl.gz", Format::Ndjson),
        ] {
            assert_eq!(format_of(Path::new(name)), format, "{name}");
        }
    }
}
