//! Multi-Krum, Blanchard et al. 2017: the mean, weighted by samples, of the `keep` updates of the lowest Krum scores.

use crate::options::{OptionInfo, Range};
use crate::rule::RuleInfo;

use super::krum::{Krum, MALICIOUS};

const NAME: &str = "multi-krum";

pub(super) const INFO: RuleInfo = RuleInfo {
    name: NAME,
    doc: "The mean of the updates that are nearest to their neighbours (Blanchard 2017)",
    streams: false,
    weighs: true,
    noise: false,
    options: &[MALICIOUS, OptionInfo { name: "keep", default: None, doc: "how many updates are averaged, at least 1" }],
    build: |options| {
        let malicious = options.required("f", Range::Index)?;
        let keep = options.required("keep", Range::Count)?;
        Ok(Box::new(Krum::new(NAME, options.numerics()?, malicious, Some(keep))))
    },
};
