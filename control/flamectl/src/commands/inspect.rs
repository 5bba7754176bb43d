//! `flamectl inspect FILE.wasm`: what is in a code file, and what would be refused, without a server.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use flame_bundle::{BundleError, Inspection};
use serde::Serialize;

use crate::{Failure, OutputArgs, Printer, code, text};

/// Arguments of `inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// Code file: a component, or a zip with `<role>.wasm` per role
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What is in a code file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// `component` or `zip`.
    kind: &'static str,
    size: u64,
    sha256: String,
    roles: BTreeSet<String>,
    components: Vec<Inspection>,
}

pub(crate) fn run(args: &InspectArgs, printer: &mut Printer) -> Result<(), Failure> {
    let bytes = code::read(&args.file)?;
    let report = look(&bytes).map_err(|error| code::refused(&args.file, &error))?;
    if !printer.value(args.output.output, &report)? {
        show(&report, printer)?;
    }
    let reasons: Vec<_> = report.components.iter().flat_map(|component| component.refusals.iter().cloned()).collect();
    if reasons.is_empty() { Ok(()) } else { Err(code::refusals(args.file.display(), &reasons)) }
}

fn look(bytes: &[u8]) -> Result<Report, BundleError> {
    let (kind, components, roles) = if bytes.starts_with(b"PK") {
        let bundle = flame_bundle::open(bytes)?;
        let components = bundle.components().into_values().map(|component| component.inspection.clone()).collect();
        ("zip", components, bundle.roles.into_keys().collect())
    } else {
        // Not `open`: what would be refused is shown as well.
        let inspection = flame_bundle::inspect(bytes)?;
        let roles = inspection.roles.iter().cloned().collect();
        ("component", vec![inspection], roles)
    };
    Ok(Report { kind, size: bytes.len() as u64, sha256: flame_bundle::sha256_hex(bytes), roles, components })
}

fn show(report: &Report, printer: &mut Printer) -> Result<(), Failure> {
    let roles: Vec<_> = report.roles.iter().map(|role| text::safe(role)).collect();
    printer.line(format_args!("kind:    {}", report.kind))?;
    printer.line(format_args!("size:    {}", text::size(report.size)))?;
    printer.line(format_args!("sha256:  {}", report.sha256))?;
    printer.line(format_args!("roles:   {}", if roles.is_empty() { "none".into() } else { roles.join(", ") }))?;
    for component in &report.components {
        if report.kind == "zip" {
            let roles = text::safe(&component.roles.join(", "));
            let (size, digest) = (text::size(component.size), &component.sha256);
            printer.line(format_args!("component for {roles}: {size}, sha256 {digest}"))?;
        }
        printer.line(if component.imports.is_empty() { "imports: none" } else { "imports:" })?;
        for import in &component.imports {
            let mark = if flame_bundle::allowed_import(import) { "" } else { "   (not allowed)" };
            printer.line(format_args!("  {}{mark}", text::safe(import)))?;
        }
    }
    Ok(())
}
