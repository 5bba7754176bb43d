//! Keys and signatures: made, checked and uploaded, and what is said when they are wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Fake, Ran, component, flamectl, ran};
use flame_bundle::{SecretKey, SignedDigest, sha256_hex};
use serde_json::{Value, json};

fn run(folder: &Path, args: &[&str]) -> Ran {
    ran(flamectl(folder).args(args))
}

/// A folder with code in it, and a key `a.key`.
fn with_key() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mnist.wasm"), component("aggregator\ntrainer")).unwrap();
    let made = run(folder.path(), &["keygen", "-o", "a.key"]);
    assert_eq!(made.status, 0, "{}", made.err);
    (folder, made.out.trim().to_owned())
}

fn server() -> Fake {
    Fake::new([("POST /v1/designs/mnist/code", 201, r#"{"version":1}"#)])
}

#[test]
fn a_key_is_its_owners_alone_and_never_replaced() {
    let (folder, public) = with_key();
    let at = |name: &str| folder.path().join(name);
    let secret = fs::read_to_string(at("a.key")).unwrap();
    assert_eq!(fs::metadata(at("a.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(SecretKey::from_file(&secret).unwrap().public().to_string(), public);
    assert_eq!(fs::read_to_string(at("a.key.pub")).unwrap(), format!("{public}\n"));
    for (taken, named) in [("a.key", "a.key.pub exists already"), ("b.key", "b.key exists already")] {
        fs::write(at("b.key"), "mine").unwrap();
        let again = run(folder.path(), &["keygen", "-o", taken]);
        assert_eq!((again.status, again.out.as_str()), (2, ""));
        assert!(
            again.err.starts_with(&format!("error: {named}, and a key is never replaced\nhint: ")),
            "{}",
            again.err
        );
    }
    assert_eq!(fs::read_to_string(at("a.key")).unwrap(), secret);
    assert_eq!(fs::read_to_string(at("b.key")).unwrap(), "mine");
    assert!(!at("b.key.pub").exists());
}

#[test]
fn signing_writes_a_file_that_holds_and_says_what_it_signed() {
    let (folder, public) = with_key();
    let digest = sha256_hex(&component("aggregator\ntrainer"));
    let signed = run(folder.path(), &["sign", "mnist.wasm", "--key", "a.key"]);
    assert_eq!((signed.status, signed.err.as_str()), (0, ""));
    assert_eq!(
        signed.out,
        format!("Signed by {public}\n\taggregator, trainer: sha256 {digest}\nSignatures written to mnist.wasm.sig\n")
    );
    let text = fs::read_to_string(folder.path().join("mnist.wasm.sig")).unwrap();
    let [one] = &SignedDigest::parse_file(&text).unwrap()[..] else { panic!("{text}") };
    one.holds().unwrap();
    assert_eq!((&one.sha256, one.signature.signer().to_string()), (&digest, public));
    assert!(text.starts_with("# aggregator, trainer\nsha256:"), "{text}");
}

#[test]
fn signers_add_up_and_signatures_of_older_code_go() {
    let (folder, one) = with_key();
    let two = run(folder.path(), &["keygen", "-o", "b.key"]).out.trim().to_owned();
    for key in ["a.key", "b.key", "a.key"] {
        assert_eq!(run(folder.path(), &["sign", "mnist.wasm", "--key", key]).status, 0);
    }
    let report = run(folder.path(), &["inspect", "mnist.wasm", "-o", "json"]);
    let report: Value = serde_json::from_str(&report.out).unwrap();
    let mut both = [one.as_str(), &two];
    both.sort_unstable();
    assert_eq!(report["components"][0]["signers"], json!(both));

    fs::write(folder.path().join("mnist.wasm"), component("trainer")).unwrap();
    let stale = run(folder.path(), &["inspect", "mnist.wasm"]);
    assert_eq!(stale.status, 2);
    assert!(stale.err.contains("is of other code") && stale.out.contains("signed by: nobody"), "{stale:?}");
    let again = run(folder.path(), &["sign", "mnist.wasm", "--key", "a.key"]);
    assert_eq!(again.err, "2 signatures of other code were in mnist.wasm.sig and are gone\n");
    assert_eq!(run(folder.path(), &["inspect", "mnist.wasm"]).status, 0);
}

#[test]
fn verify_tells_a_signer_from_others() {
    let (folder, public) = with_key();
    run(folder.path(), &["keygen", "-o", "b.key"]);
    run(folder.path(), &["sign", "mnist.wasm", "--key", "a.key"]);
    let digest = sha256_hex(&component("aggregator\ntrainer"));
    for signer in [public.as_str(), "a.key.pub"] {
        let good = run(folder.path(), &["verify", "mnist.wasm", "--signer", "b.key.pub", "--signer", signer]);
        assert_eq!((good.status, good.err.as_str()), (0, ""));
        assert_eq!(good.out, format!("aggregator, trainer: sha256 {digest} is signed by {public}\n"));
    }
    let bad = run(folder.path(), &["verify", "mnist.wasm", "--signer", "b.key.pub"]);
    assert_eq!((bad.status, bad.out.as_str()), (2, ""));
    assert!(bad.err.contains(&format!("with sha256 {digest} is signed by {public}")), "{}", bad.err);
    fs::write(folder.path().join("mnist.wasm"), component("trainer")).unwrap();
    let altered = run(folder.path(), &["verify", "mnist.wasm", "--signer", "a.key.pub"]);
    assert_eq!(altered.status, 2);
    assert!(altered.err.contains("is signed by nobody"), "{}", altered.err);
}

#[test]
fn signatures_are_uploaded_when_they_are_named() {
    let (folder, _) = with_key();
    run(folder.path(), &["sign", "mnist.wasm", "--key", "a.key"]);
    let fake = server();
    let forgotten = fake.run_in(folder.path(), &["create", "code", "mnist.wasm", "--design", "mnist"]);
    assert_eq!(forgotten.status, 0);
    assert_eq!(
        forgotten.err,
        "it was uploaded without mnist.wasm.sig, which lies beside it; `--signature mnist.wasm.sig` uploads the \
         signatures as well\n"
    );
    let args = ["create", "code", "mnist.wasm", "--design", "mnist", "--signature", "mnist.wasm.sig"];
    let signed = fake.run_in(folder.path(), &args);
    assert_eq!((signed.status, signed.err.as_str()), (0, ""));
    assert_eq!(signed.out, "Code created successfully for design 'mnist'\n");
    let text = fs::read_to_string(folder.path().join("mnist.wasm.sig")).unwrap();
    let sent: Vec<_> = fake.asked().into_iter().map(|asked| asked.signatures).collect();
    assert_eq!(sent, ["", text.lines().nth(1).unwrap()]);
}

#[test]
fn wrong_signatures_are_refused_before_the_server_is_asked() {
    let (folder, public) = with_key();
    let at = |name: &str| folder.path().join(name);
    run(folder.path(), &["sign", "mnist.wasm", "--key", "a.key"]);
    let line = fs::read_to_string(at("mnist.wasm.sig")).unwrap();
    let swapped = line.replace(&sha256_hex(&component("aggregator\ntrainer")), &sha256_hex(b"x"));
    fs::write(at("other.sig"), swapped).unwrap();
    let key = SecretKey::generate().unwrap();
    fs::write(at("borrowed.sig"), line.replace(&public, &key.public().to_string())).unwrap();
    fs::write(at("text.sig"), "# hello\nhello\n").unwrap();
    let fake = server();
    for (file, said) in [
        ("other.sig", "other.sig: the signature by flame-ed25519:"),
        ("borrowed.sig", "does not hold for the code"),
        ("text.sig", "text.sig: line 2: no signature: `hello` has not three fields"),
        ("none.sig", "the signature file none.sig does not exist"),
    ] {
        let args = ["create", "code", "mnist.wasm", "--design", "mnist", "--signature", file];
        let wrong = fake.run_in(folder.path(), &args);
        assert_eq!(wrong.status, 2, "{file}");
        assert!(wrong.err.contains(said), "{}", wrong.err);
        assert!(wrong.err.contains("\nhint: "), "{}", wrong.err);
    }
    assert_eq!(fake.asked(), []);
}

#[test]
fn wrong_keys_are_named_and_never_shown() {
    let (folder, _) = with_key();
    let secret = fs::read_to_string(folder.path().join("a.key")).unwrap();
    let secret = secret.lines().last().unwrap();
    let sign = |key: &str| run(folder.path(), &["sign", "mnist.wasm", "--key", key]);
    assert!(sign("a.key.pub").err.contains("this is a public key, and signing takes the secret one"));
    assert!(sign("nowhere").err.contains("the key file nowhere does not exist"));
    assert!(sign("mnist.wasm").err.starts_with("error: "));
    let shown = run(folder.path(), &["verify", "mnist.wasm", "--signer", secret]);
    assert_eq!(shown.status, 2);
    assert!(shown.err.contains("it is a secret key") && !shown.err.contains(&secret[30..]), "{}", shown.err);
    fs::set_permissions(folder.path().join("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let open = sign("a.key");
    assert_eq!(open.status, 0);
    assert!(open.err.starts_with("warning: others may use the key file a.key; `chmod 600 a.key`"), "{}", open.err);
}

/// A zip of stored entries, small enough to be written by hand.
fn zip(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    };
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let (start, size) = (u32::try_from(file.len()).unwrap(), u32::try_from(bytes.len()).unwrap());
        let mut about = b"\x14\0\0\0\0\0\0\0\0\0".to_vec();
        about.extend([crc(bytes), size, size].iter().flat_map(|number| number.to_le_bytes()));
        about.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        about.extend([0, 0]);
        file.extend([b"PK\x03\x04", &about[..], name.as_bytes(), bytes].concat());
        directory.extend([b"PK\x01\x02\x14\0", &about[..], &[0; 10], &start.to_le_bytes(), name.as_bytes()].concat());
    }
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    let (size, start) = (u32::try_from(directory.len()).unwrap(), u32::try_from(file.len()).unwrap());
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &size.to_le_bytes(), &start.to_le_bytes(), b"\0\0"].concat();
    [file, directory, end].concat()
}

#[test]
fn of_a_zip_each_component_is_signed() {
    let (folder, public) = with_key();
    let parts = [("aggregator.wasm", component("aggregator")), ("trainer.wasm", component("trainer"))];
    fs::write(folder.path().join("mnist.zip"), zip(&parts)).unwrap();
    let signed = run(folder.path(), &["sign", "mnist.zip", "--key", "a.key"]);
    assert_eq!(signed.status, 0, "{}", signed.err);
    let text = fs::read_to_string(folder.path().join("mnist.zip.sig")).unwrap();
    let lines = SignedDigest::parse_file(&text).unwrap();
    let mut digests: Vec<_> = lines.iter().map(|line| line.sha256.clone()).collect();
    digests.sort();
    let mut expected: Vec<_> = parts.iter().map(|(_, bytes)| sha256_hex(bytes)).collect();
    expected.sort();
    assert_eq!(digests, expected);
    assert!(text.contains("# aggregator\nsha256:") && text.contains("# trainer\nsha256:"), "{text}");
    let inspected = run(folder.path(), &["inspect", "mnist.zip"]);
    assert_eq!(inspected.status, 0, "{}", inspected.err);
    assert_eq!(inspected.out.matches(&public).count(), 2);

    // Of two components one is signed: that is not enough.
    fs::write(folder.path().join("half.sig"), text.lines().take(2).collect::<Vec<_>>().join("\n")).unwrap();
    let half = run(folder.path(), &["verify", "mnist.zip", "--signer", &public, "--signature", "half.sig"]);
    assert_eq!(half.status, 2);
    assert!(half.err.contains("is signed by nobody"), "{}", half.err);
}

#[test]
fn inspect_lists_every_reason_against_a_zip_in_one_answer() {
    let folder = tempfile::tempdir().unwrap();
    let parts = [
        ("trainer.wasm", component("other")),
        ("plain.wasm", component("")),
        ("readme.md", b"hello".to_vec()),
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec()),
    ];
    fs::write(folder.path().join("bad.zip"), zip(&parts)).unwrap();
    fs::write(folder.path().join("bad.zip.sig"), "nonsense").unwrap();
    let table = run(folder.path(), &["inspect", "bad.zip"]);
    assert_eq!(table.status, 2);
    let reasons = [
        "trainer.wasm does not serve role trainer but other",
        "plain.wasm: the component names no role",
        "readme.md is not <role>.wasm",
        "core.wasm: this is a core module",
        "bad.zip.sig: line 1: no signature",
    ];
    for reason in reasons {
        assert!(table.err.contains(&format!("\n  - {reason}")), "{reason}: {}", table.err);
    }
    assert!(table.out.contains("kind:    zip\n") && table.out.contains("exports:\n  run\n"), "{}", table.out);
    let machine = run(folder.path(), &["inspect", "bad.zip", "-o", "json"]);
    assert_eq!(machine.status, 2);
    let machine: Value = serde_json::from_str(&machine.out).unwrap();
    assert_eq!(machine["refusals"].as_array().unwrap().len(), reasons.len());
    assert_eq!(machine["components"][0]["exports"], json!(["run"]));
}

#[test]
fn who_signed_a_designs_code_is_a_table() {
    let (digest, signer) = ("ab".repeat(32), format!("flame-ed25519:{}=", "k".repeat(43)));
    let part =
        |roles: &[&str], signers: &[&str]| json!({"roles": roles, "sha256": digest, "size": 2048, "signers": signers});
    let design = json!({
        "id": "mnist", "description": "", "createdAt": "2022-04-02T17:33:49.915Z", "schemas": [],
        "code": [
            {"version": 1, "sha256": digest, "size": 2048, "roles": ["trainer"], "createdAt": "2022-04-02T17:33:50Z",
             "components": [part(&["trainer"], &[])]},
            {"version": 2, "sha256": digest, "size": 2048, "roles": ["trainer"], "createdAt": "2022-04-02T17:33:51Z",
             "components": [part(&["trainer", "aggregator"], &[&signer])]},
        ],
    });
    let fake = Fake::new([("GET /v1/designs/mnist", 200, design.to_string())]);
    assert_eq!(fake.run(&["get", "code", "mnist"]).out, "\
+---------+---------------------+---------+--------------+----------------------------+-----------------------------------+
| VERSION |        ROLES        |   SIZE  |    SHA256    |          SIGNED BY         |             CREATED AT            |
+---------+---------------------+---------+--------------+----------------------------+-----------------------------------+
| 1       | trainer             | 2.0 KiB | abababababab | nobody                     | 2022-04-02 17:33:50.000 +0000 UTC |
| 2       | trainer, aggregator | 2.0 KiB | abababababab | flame-ed25519:kkkkkkkkkkkk | 2022-04-02 17:33:51.000 +0000 UTC |
+---------+---------------------+---------+--------------+----------------------------+-----------------------------------+
");
    let wide = fake.run(&["get", "code", "mnist", "-o", "wide"]).out;
    assert!(wide.contains(&signer) && wide.contains(&digest), "{wide}");
    let machine: Value = serde_json::from_str(&fake.run(&["get", "code", "mnist", "-o", "json"]).out).unwrap();
    assert_eq!(machine, design["code"]);
}

#[test]
fn the_commands_of_the_how_to_work_as_they_stand() {
    let how_to = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/signing.md");
    let how_to = fs::read_to_string(how_to).unwrap();
    let commands: Vec<_> = how_to.lines().filter_map(|line| line.strip_prefix("    flamectl ")).collect();
    assert!(commands.len() >= 6, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mnist.wasm"), component("aggregator\ntrainer")).unwrap();
    let design =
        r#"{"id": "mnist", "description": "", "createdAt": "2022-04-02T17:33:49Z", "schemas": [], "code": []}"#;
    let fake =
        Fake::new([("POST /v1/designs/mnist/code", 201, r#"{"version":1}"#), ("GET /v1/designs/mnist", 200, design)]);
    for command in commands {
        let done = fake.run_in(folder.path(), &command.split(' ').collect::<Vec<_>>());
        assert_eq!(done.status, 0, "flamectl {command}\n{}", done.err);
    }
    assert!(fake.asked().iter().any(|asked| asked.signatures.contains("signature:")));
}

#[test]
fn each_command_has_examples_in_its_help() {
    for command in [&["keygen"][..], &["sign"], &["verify"], &["inspect"], &["create", "code"]] {
        let help = run(Path::new("/"), &[command, &["--help"]].concat());
        assert_eq!(help.status, 0);
        assert!(help.out.contains("Examples:\n  flamectl "), "{}", help.out);
    }
}
