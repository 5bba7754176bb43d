//! Flame's end-to-end tests, conformance cases, hostile guests and benchmarks
