//! The registry: one line per rule.

mod adaptive;
mod fedadagrad;
mod fedadam;
mod fedasync;
mod fedavg;
mod fedavgm;
mod fedbuff;
mod fedprox;
mod fedyogi;
mod scaffold;

use crate::RuleInfo;

static RULES: [RuleInfo; 9] = [
    fedavg::INFO,
    fedprox::INFO,
    fedavgm::INFO,
    fedadagrad::INFO,
    fedadam::INFO,
    fedyogi::INFO,
    fedbuff::INFO,
    fedasync::INFO,
    scaffold::INFO,
];

/// Every rule with its options.
pub fn rules() -> &'static [RuleInfo] {
    &RULES
}

/// The rule of this name.
pub fn rule_info(name: &str) -> Option<&'static RuleInfo> {
    RULES.iter().find(|rule| rule.name == name)
}
