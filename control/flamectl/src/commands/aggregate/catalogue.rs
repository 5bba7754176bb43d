//! The catalogue of rules as text.

use flame_aggregate::OptionInfo;

use crate::{Failure, Printer};

pub(super) fn list(printer: &mut Printer) -> Result<(), Failure> {
    for rule in flame_aggregate::rules() {
        printer.line(format_args!("{}\n    {}", rule.name, rule.doc))?;
        for option in rule.options {
            line(option, printer)?;
        }
    }
    printer.line("every rule\n    Numerics and differential privacy")?;
    flame_aggregate::common_options().try_for_each(|option| line(option, printer))
}

fn line(option: &OptionInfo, printer: &mut Printer) -> Result<(), Failure> {
    let default = option.default.map_or_else(|| "required".to_owned(), |default| format!("default {default}"));
    Ok(printer.line(format_args!("    --opt {}=…  {} ({default})", option.name, option.doc))?)
}
