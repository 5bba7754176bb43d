//! What is accepted as code, and how everything else is told apart: hand-made bytes and what rustc makes.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may panic too")]

use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::process::Command;

use flame_bundle::{BundleError, BundleKind, inspect, inspect_within, open};
use proptest::prelude::*;

fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = n.to_le_bytes()[0] & 0x7f;
        n >>= 7;
        if n == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn name(text: &str) -> Vec<u8> {
    [leb(text.len()), text.as_bytes().to_vec()].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len()), content.to_vec()].concat()
}

/// A core module that exports `run: () -> i32` and carries role names as given.
fn module(roles: Option<&str>) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    bytes.extend(section(1, &[1, 0x60, 0, 1, 0x7f]));
    bytes.extend(section(3, &[1, 0]));
    bytes.extend(section(7, &[&[1][..], &name("run"), &[0, 0]].concat()));
    bytes.extend(section(10, &[1, 4, 0, 0x41, 0, 0x0b]));
    if let Some(roles) = roles {
        bytes.extend(section(0, &[name("flame:roles"), roles.as_bytes().to_vec()].concat()));
    }
    bytes
}

/// A worker whose `run` makes a vector before it returns 0.
fn worker_with_simd() -> Vec<u8> {
    let plain: &[u8] = &[10, 6, 1, 4, 0, 0x41, 0, 0x0b];
    // v128.const 0; drop
    let vector = [&[0xfd, 0x0c][..], &[0; 16], &[0x1a]].concat();
    let code = section(10, &[&[1, 23, 0][..], &vector, &[0x41, 0, 0x0b]].concat());
    let module = module(Some("trainer"));
    let at = module.windows(plain.len()).position(|window| window == plain).unwrap();
    let with_simd = [&module[..at], &code, &module[at + plain.len()..]].concat();
    let bytes = worker("trainer");
    let inner = section(1, &module);
    let at = bytes.windows(inner.len()).position(|window| window == inner).unwrap();
    [&bytes[..at], &section(1, &with_simd), &bytes[at + inner.len()..]].concat()
}

/// A component with these imports (empty instances) and, if asked for, `run: func() -> result`.
fn component(imports: &[&str], roles: Option<&str>, run: bool) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    // Type 0: an instance without exports.
    bytes.extend(section(7, &[1, 0x42, 0]));
    for import in imports {
        bytes.extend(section(10, &[&[1, 0][..], &name(import), &[5, 0]].concat()));
    }
    bytes.extend(section(1, &module(roles)));
    if run {
        bytes.extend(section(2, &[1, 0, 0, 0]));
        bytes.extend(section(6, &[&[1, 0, 0, 1, 0][..], &name("run")].concat()));
        // Type 1: result; type 2: func() -> result.
        bytes.extend(section(7, &[2, 0x6a, 0, 0, 0x40, 0, 0, 1]));
        bytes.extend(section(8, &[1, 0, 0, 0, 0, 2]));
        bytes.extend(section(11, &[&[1, 0][..], &name("run"), &[1, 0, 0]].concat()));
    }
    bytes
}

fn worker(roles: &str) -> Vec<u8> {
    component(&["flame:worker/channels@0.1.0", "wasi:io/streams@0.2.6"], Some(roles), true)
}

fn zip(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_worker_is_accepted_with_its_roles_and_digest() {
    let bytes = worker("trainer\naggregator");
    let inspection = inspect(&bytes).unwrap();
    assert_eq!(inspection.refusals, Vec::<String>::new());
    assert_eq!(inspection.roles, ["aggregator", "trainer"]);
    assert_eq!(inspection.imports, ["flame:worker/channels@0.1.0", "wasi:io/streams@0.2.6"]);
    assert_eq!(inspection.exports, ["run"]);
    assert_eq!(inspection.sha256.len(), 64);
    assert_eq!(inspection.size, bytes.len() as u64);

    let bundle = open(&bytes).unwrap();
    assert_eq!(bundle.kind, BundleKind::Single);
    assert_eq!(bundle.role_names(), ["aggregator", "trainer"]);
    assert_eq!(bundle.components().len(), 1);
    assert_eq!(bundle.roles["trainer"].bytes, bytes);
    assert!(bundle.foreign_entries(&["trainer".to_owned()]).is_empty());
}

#[test]
fn a_worker_may_use_vector_instructions() {
    assert_eq!(inspect(&worker_with_simd()).unwrap().refusals, Vec::<String>::new());
}

#[test]
fn every_reason_against_a_component_comes_in_one_answer() {
    let bytes = component(&["wasi:sockets/tcp@0.2.3", "wasi:http/types@0.2.3", "flame:worker/job@9.0.0"], None, false);
    let refusals = inspect(&bytes).unwrap().refusals;
    assert_eq!(refusals.len(), 5, "{refusals:#?}");
    assert!(refusals[0].starts_with("import wasi:sockets/tcp@0.2.3 is not allowed: a worker has no network"));
    assert!(refusals[1].starts_with("import wasi:http/types@0.2.3 is not allowed"));
    assert!(refusals[2].contains("this host serves flame:worker@0.1.0"));
    assert!(refusals[3].contains("names no role"));
    assert!(refusals[4].contains("does not export run"));
    let Err(BundleError::Refused(same)) = open(&bytes) else { panic!("opened") };
    assert_eq!(same, refusals);
}

#[test]
fn the_name_of_a_type_is_no_import_and_a_resource_is() {
    let with_type = |bound: &[u8]| {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        // Type 0: enum { a }.
        bytes.extend(section(7, &[&[1, 0x6d, 1][..], &name("a")].concat()));
        bytes.extend(section(10, &[&[1, 0][..], &name("error"), &[3], bound].concat()));
        inspect(&bytes).unwrap()
    };
    assert_eq!(with_type(&[0, 0]).imports, Vec::<String>::new());
    let resource = with_type(&[1]);
    assert_eq!(resource.imports, ["error"]);
    assert!(resource.refusals[0].starts_with("import error is not allowed"), "{:?}", resource.refusals);
}

#[test]
fn role_names_are_checked() {
    let refusals = inspect(&worker("trainer\n../etc\n\u{1b}[31m\n")).unwrap().refusals;
    assert_eq!(refusals.len(), 2, "{refusals:#?}");
    assert!(refusals.iter().all(|text| !text.contains('\u{1b}')));
    assert!(inspect(&worker("\n")).unwrap().refusals[0].contains("is empty"));
}

#[test]
fn what_is_no_component_is_told_apart_with_the_fix() {
    let said = |bytes: &[u8]| open(bytes).unwrap_err().to_string();
    assert!(said(&module(None)).contains("this is a core module, not a component: build with --target wasm32-wasip2"));
    assert!(said(b"").contains("the file is empty"));
    assert!(said(b"(module)").contains("WebAssembly text"));
    assert!(said(b"\x7fELF\x02\x01").contains("a native or precompiled binary"));
    assert!(said(b"\x1f\x8b\x08").contains("a gzip file"));
    assert!(said(b"import torch\n").contains("a text file"));
    assert!(said(&[0xff; 40]).contains("something else"));
    assert!(said(b"\0asm").contains("cut off"));
    let mut damaged = worker("trainer");
    damaged.truncate(damaged.len() - 5);
    assert!(said(&damaged).contains("the component is not valid"));
    assert!(matches!(inspect_within(&worker("trainer"), 20), Err(BundleError::TooLarge { limit: 20, .. })));
}

#[test]
fn a_zip_has_a_component_for_each_role() {
    let bytes = zip(&[("trainer.wasm", worker("trainer")), ("aggregator.wasm", worker("aggregator\ntop"))]);
    let bundle = open(&bytes).unwrap();
    assert_eq!(bundle.kind, BundleKind::Zip);
    assert_eq!(bundle.role_names(), ["aggregator", "trainer"]);
    assert_ne!(bundle.roles["trainer"].sha256(), bundle.roles["aggregator"].sha256());
    let foreign = bundle.foreign_entries(&["trainer".to_owned()]);
    assert_eq!(foreign.len(), 1);
    assert!(foreign[0].contains("aggregator.wasm is no role of the schema (trainer)"));
}

#[test]
fn a_zip_entry_that_is_no_role_is_refused_by_name() {
    let bytes = zip(&[
        ("trainer.wasm", worker("other")),
        ("trainer/main.py", b"import torch".to_vec()),
        ("../up.wasm", worker("up")),
        ("readme.md", Vec::new()),
        ("core.wasm", module(None)),
    ]);
    let Err(BundleError::Refused(refusals)) = open(&bytes) else { panic!("opened") };
    let all = refusals.join("\n");
    for expected in [
        "trainer.wasm does not serve role trainer but other",
        "trainer/main.py is not <role>.wasm",
        "../up.wasm is not <role>.wasm",
        "readme.md is not <role>.wasm",
        "core.wasm: this is a core module",
    ] {
        assert!(all.contains(expected), "{expected}\n{all}");
    }
}

#[test]
fn an_empty_or_crowded_or_damaged_zip_is_refused() {
    assert!(matches!(open(&zip(&[])), Err(BundleError::BadZip { .. })));
    let names: Vec<String> = (0..65).map(|i| format!("r{i}.wasm")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), Vec::new())).collect();
    let said = open(&zip(&entries)).unwrap_err().to_string();
    assert!(said.contains("65 entries, more than 64"), "{said}");
    let mut bytes = zip(&[("trainer.wasm", worker("trainer"))]);
    bytes.truncate(bytes.len() - 10);
    assert!(open(&bytes).is_err());
}

/// Builds a program with the installed toolchain, or says why it cannot.
fn build(dir: &std::path::Path, name: &str, source: &str) -> Option<Vec<u8>> {
    let (input, output): (PathBuf, PathBuf) = (dir.join(format!("{name}.rs")), dir.join(format!("{name}.wasm")));
    std::fs::write(&input, source).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let made = Command::new(rustc)
        .args(["--edition", "2024", "--target", "wasm32-wasip2", "-O", "-o"])
        .args([&output, &input])
        .output();
    match made {
        Ok(made) if made.status.success() => Some(std::fs::read(output).unwrap()),
        Ok(made) => {
            println!("skipped: rustc cannot build for wasm32-wasip2: {}", String::from_utf8_lossy(&made.stderr));
            None
        }
        Err(error) => {
            println!("skipped: no rustc: {error}");
            None
        }
    }
}

#[test]
fn what_rusts_std_imports_is_allowed_and_sockets_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let plain = "#[unsafe(link_section = \"flame:roles\")] #[used] static R: [u8; 7] = *b\"trainer\";\n\
                 fn main() { println!(\"{:?} {:?}\", std::env::var(\"X\"), std::time::Instant::now()); \
                 println!(\"{:?}\", std::collections::HashMap::<u32, u32>::new()); let _ = std::fs::read(\"/x\"); }";
    if let Some(bytes) = build(dir.path(), "plain", plain) {
        let inspection = inspect(&bytes).unwrap();
        assert_eq!(inspection.roles, ["trainer"]);
        assert_eq!(inspection.refusals.len(), 1, "{:#?}", inspection.refusals);
        assert!(inspection.refusals[0].contains("does not export run"));
    }
    let network = "fn main() { println!(\"{:?}\", std::net::TcpStream::connect(\"127.0.0.1:1\").is_ok()); }";
    if let Some(bytes) = build(dir.path(), "network", network) {
        let refusals = inspect(&bytes).unwrap().refusals.join("\n");
        assert!(refusals.contains("import wasi:sockets/tcp@0.2."), "{refusals}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = open(&bytes);
        let _ = open(&[b"\0asm\x0d\0\x01\0", bytes.as_slice()].concat());
        let _ = open(&[b"PK\x03\x04", bytes.as_slice()].concat());
    }

    #[test]
    fn mutated_components_and_zips_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        for mut bytes in [worker("trainer"), zip(&[("trainer.wasm", worker("trainer"))])] {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let _ = open(&bytes);
        }
    }
}
