//! The imports that a worker may have: the one list that admission checks and the sandbox links.

/// Version of the `flame:worker` package that the host serves.
pub const WORKER_VERSION: &str = "0.1.0";
/// The interfaces of `flame:worker`.
pub const WORKER_INTERFACES: [&str; 7] =
    ["types", "tensors", "channels", "aggregation", "datasets", "job", "telemetry"];
/// The interfaces of WASI 0.2 that Rust's standard library needs on `wasm32-wasip2`, whatever the program. The sandbox
/// gives each of them its emptiest meaning: no environment, no files, no terminal.
pub const WASI_INTERFACES: [&str; 20] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];

/// Whether a component may import `name`, such as `flame:worker/channels@0.1.0` or `wasi:io/streams@0.2.6`.
///
/// `flame:worker` must have the host's version; WASI any release of 0.2, which are compatible among themselves.
pub fn allowed_import(name: &str) -> bool {
    let Some((interface, version)) = name.split_once('@') else { return false };
    if let Some(interface) = interface.strip_prefix("flame:worker/") {
        return version == WORKER_VERSION && WORKER_INTERFACES.contains(&interface);
    }
    let release = version.strip_prefix("0.2.").unwrap_or("");
    let is_release = !release.is_empty() && release.len() <= 4 && release.bytes().all(|b| b.is_ascii_digit());
    is_release && WASI_INTERFACES.contains(&interface)
}

/// Why an import is refused, with the fix.
pub(crate) fn refusal(name: &str) -> String {
    let shown: String = name.chars().take(128).collect();
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let package = interface.split('/').next().unwrap_or(interface);
    let fix = match package {
        "flame:worker" if version != WORKER_VERSION => {
            format!("this host serves flame:worker@{WORKER_VERSION}; build with the SDK of that version")
        }
        "flame:worker" => format!("flame:worker@{WORKER_VERSION} has no such interface; build with the SDK's own WIT"),
        "wasi:sockets" | "wasi:http" => {
            "a worker has no network; talk through the channels of its schema, and drop what uses std::net".to_owned()
        }
        "wasi:filesystem" | "wasi:cli" | "wasi:io" | "wasi:clocks" | "wasi:random" => {
            "only what Rust's std needs of WASI 0.2 is linked; build with --target wasm32-wasip2 and drop what uses it"
                .to_owned()
        }
        _ => "a worker may import flame:worker and what Rust's std needs of WASI 0.2; drop what uses it".to_owned(),
    };
    format!("import {shown} is not allowed: {fix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_package_and_what_std_needs_may_be_imported() {
        for name in ["flame:worker/channels@0.1.0", "wasi:io/streams@0.2.0", "wasi:cli/terminal-stdin@0.2.12"] {
            assert!(allowed_import(name), "{name}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for name in [
            "wasi:sockets/tcp@0.2.3",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:io/streams@0.3.0",
            "wasi:io/streams@0.2.0-rc",
            "wasi:io/streams",
            "wasi:io/streams@0.2.",
            "flame:worker/channels@0.2.0",
            "flame:worker/secrets@0.1.0",
            "flame:worker/channels",
            "env",
            "",
        ] {
            assert!(!allowed_import(name), "{name}");
            assert!(refusal(name).contains(name), "{name}");
        }
    }
}
