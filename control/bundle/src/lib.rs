//! What a Flame code bundle is: component inspection, roles, digests
