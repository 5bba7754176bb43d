//! FedProx, Li et al. 2020. The proximal term (mu/2)‖w − w_t‖² is the client's; the server averages.

use crate::RuleInfo;
use crate::options::{OptionInfo, Range};

use super::fedavg::FedAvg;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fedprox",
    doc: "FedAvg on the server; clients add (mu/2)·‖w − w_t‖² to their loss (Li 2020)",
    streams: true,
    weighs: true,
    noise: true,
    options: &[OptionInfo {
        name: "mu",
        default: Some("0"),
        doc: "weight of the client's proximal term, at least 0; the server does not use it",
    }],
    build: |options| {
        options.number("mu", Range::NotNegative)?;
        Ok(Box::new(FedAvg::new(options.numerics()?)))
    },
};
