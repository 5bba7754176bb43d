//! The registry: one line per rule.

mod adaptive;
mod bulyan;
mod centred_clip;
mod fedadagrad;
mod fedadam;
mod fedasync;
mod fedavg;
mod fedavgm;
mod fedbuff;
mod feddyn;
mod fednova;
mod fedprox;
mod fedyogi;
mod fltrust;
mod geometric_median;
mod krum;
mod median;
mod multi_krum;
mod norm_bound;
mod qfedavg;
mod scaffold;
mod trimmed_mean;

use crate::RuleInfo;

static RULES: [RuleInfo; 21] = [
    fedavg::INFO,
    fedavgm::INFO,
    fedadagrad::INFO,
    fedadam::INFO,
    fedyogi::INFO,
    fedprox::INFO,
    qfedavg::INFO,
    fednova::INFO,
    scaffold::INFO,
    feddyn::INFO,
    fedbuff::INFO,
    fedasync::INFO,
    median::INFO,
    trimmed_mean::INFO,
    krum::INFO,
    multi_krum::INFO,
    bulyan::INFO,
    geometric_median::INFO,
    centred_clip::INFO,
    norm_bound::INFO,
    fltrust::INFO,
];

/// Every rule with its options.
pub fn rules() -> &'static [RuleInfo] {
    &RULES
}

/// The rule of this name.
pub fn rule_info(name: &str) -> Option<&'static RuleInfo> {
    RULES.iter().find(|rule| rule.name == name)
}
