//! `flamectl inspect FILE.wasm`: what is in a code file, and what would be refused, without a server.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use flame_bundle::{Bundle, BundleKind, Inspection, SignedDigest};
use serde::Serialize;

use crate::{Failure, OutputArgs, Printer, code, keys, text};

const AFTER_HELP: &str = "\
Examples:
  flamectl inspect mnist.wasm
  flamectl inspect mnist.wasm -o json | jq .refusals

Signatures are looked for in FILE.sig. Status 0 if the code would be accepted, 2 if not; all reasons are listed.";

/// Arguments of `inspect`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
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
    components: Vec<Part>,
    /// Every reason for which it would be refused.
    refusals: Vec<String>,
}

/// A component and whose signatures lie beside the file and hold for it.
#[derive(Debug, Serialize)]
struct Part {
    #[serde(flatten)]
    inspection: Inspection,
    signers: BTreeSet<String>,
}

pub(crate) fn run(args: &InspectArgs, printer: &mut Printer) -> Result<(), Failure> {
    let bytes = code::read(&args.file)?;
    let (bundle, mut refusals) = flame_bundle::survey(&bytes).map_err(|error| code::refused(&args.file, &error))?;
    let beside = keys::signature_path(&args.file);
    let mut signatures = Vec::new();
    if beside.exists() {
        match keys::read_signatures(&beside) {
            Ok(found) => signatures = found,
            Err(failure) => refusals.push(failure.message()),
        }
    }
    let report = report(&bytes, &bundle, &signatures, refusals).map_err(|error| code::refused(&args.file, &error))?;
    if !printer.value(args.output.output, &report)? {
        show(&report, printer)?;
    }
    if report.refusals.is_empty() { Ok(()) } else { Err(code::refusals(args.file.display(), &report.refusals)) }
}

fn report(
    bytes: &[u8],
    bundle: &Bundle,
    signatures: &[SignedDigest],
    mut refusals: Vec<String>,
) -> Result<Report, flame_bundle::BundleError> {
    let inspections = match bundle.kind {
        // It is shown even if it names no role.
        BundleKind::Single => vec![flame_bundle::inspect(bytes)?],
        BundleKind::Zip => bundle.components().into_values().map(|component| component.inspection.clone()).collect(),
    };
    // One line of a file may be for a component that a zip has no longer.
    let stray = signatures.iter().filter(|signed| inspections.iter().all(|part| part.sha256 != signed.sha256));
    refusals.extend(stray.filter_map(|signed| code::signature_refusal(bundle, signed)));
    let mut components = Vec::new();
    for inspection in inspections {
        let mut signers = BTreeSet::new();
        for signed in signatures.iter().filter(|signed| signed.sha256 == inspection.sha256) {
            match signed.holds() {
                Ok(()) => drop(signers.insert(signed.signature.signer().to_string())),
                Err(error) => refusals.push(error.to_string()),
            }
        }
        components.push(Part { inspection, signers });
    }
    Ok(Report {
        kind: if bundle.kind == BundleKind::Zip { "zip" } else { "component" },
        size: bundle.size,
        sha256: bundle.sha256.clone(),
        roles: bundle.roles.keys().cloned().collect(),
        components,
        refusals,
    })
}

fn show(report: &Report, printer: &mut Printer) -> Result<(), Failure> {
    let roles: Vec<_> = report.roles.iter().map(|role| text::safe(role)).collect();
    printer.line(format_args!("kind:    {}", report.kind))?;
    printer.line(format_args!("size:    {}", text::size(report.size)))?;
    printer.line(format_args!("sha256:  {}", report.sha256))?;
    printer.line(format_args!("roles:   {}", if roles.is_empty() { "none".into() } else { roles.join(", ") }))?;
    for component in &report.components {
        let inspection = &component.inspection;
        if report.kind == "zip" {
            let roles = text::safe(&inspection.roles.join(", "));
            let (size, digest) = (text::size(inspection.size), &inspection.sha256);
            printer.line(format_args!("component for {roles}: {size}, sha256 {digest}"))?;
        }
        list(printer, "signed by", &component.signers, "nobody", |_| "")?;
        let mark = |import: &String| if flame_bundle::allowed_import(import) { "" } else { "   (not allowed)" };
        list(printer, "imports", &inspection.imports, "none", mark)?;
        list(printer, "exports", &inspection.exports, "none", |_| "")?;
    }
    Ok(())
}

/// A heading and a line for each text, or one line that says that there is none.
fn list<'a>(
    printer: &mut Printer,
    what: &str,
    texts: impl IntoIterator<Item = &'a String>,
    none: &str,
    mark: impl Fn(&String) -> &'static str,
) -> Result<(), Failure> {
    let mut texts = texts.into_iter().peekable();
    if texts.peek().is_none() {
        printer.line(format_args!("{what}: {none}"))?;
        return Ok(());
    }
    printer.line(format_args!("{what}:"))?;
    for text in texts {
        printer.line(format_args!("  {}{}", text::safe(text), mark(text)))?;
    }
    Ok(())
}
