//! Every command that a page of the documentation shows is run here: page by page, in the page's order, by a shell, in a
//! home of its own. Each has to succeed, or to fail as the page shows it.
//!
//! The commands are read out of the pages, so that a page is tested as it stands. What is not taken to the letter is in
//! [`tables`].

mod page;
mod reader;
mod tables;

use std::fs;

use flame_model::{Model, Tensor, safetensors};
use flame_tests::Mosquitto;
use reader::Reader;
use tables::{LEFT_OUT, STAND_INS};

/// A test for each page, and the list of the pages that have one.
macro_rules! pages {
    ($($name:ident: $page:literal, $read:ident;)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(
            #[test]
            fn $name() {
                let mut reader = Reader::new($page);
                $read(&mut reader);
                let ran = reader.closes_the_page();
                eprintln!("{}: {ran} commands were run", $page);
            }
        )*
    };
}

pages! {
    the_commands_of_flamectl_md_work: "docs/flamectl.md", flamectl;
    the_commands_of_aggregate_files_md_work: "docs/aggregate-files.md", aggregate_files;
    the_commands_of_operating_md_work: "docs/operating.md", operating;
    the_commands_of_policy_md_work: "docs/policy.md", policy;
    the_commands_of_signing_md_work: "docs/signing.md", signing;
    the_commands_of_topologies_md_work: "docs/topologies.md", topologies;
    the_commands_of_brokers_md_work: "docs/brokers.md", brokers;
    the_walk_through_of_the_mnist_example_works: "examples/mnist-wasm/README.md", mnist_example;
}

fn flamectl(reader: &mut Reader) {
    reader.has_the_example();
    reader.serves("flame-control --broker-port 0");
    // Designs, schemas, code: from nothing to nothing.
    reader.block();
    // Drawings, jobs.
    reader.has_the_design();
    reader.block();
    reader.block();
    // A job under way.
    reader.has_a_started_job();
    reader.has_a_participant();
    reader.block();
    reader.tasks_complete();
    // Data sets and computes.
    for (file, text) in [
        ("dataset.json", r#"{"url": "file:///data/mnist-eu", "realm": "default/eu", "isPublic": true}"#),
        ("changes.yaml", "description: digits of the north\n"),
        ("compute.yaml", "id: cluster-1\nrealm: default/eu\nkey: a-secret\n"),
    ] {
        fs::write(reader.folder.join(file), text).unwrap();
    }
    reader.block();
    // Tokens; then what needs no server.
    reader.block();
    reader.stops_serving();
    reader.block();
    // fish makes this folder when it is first used.
    fs::create_dir_all(reader.home().join(".config/fish/completions")).unwrap();
    reader.block();
}

fn aggregate_files(reader: &mut Reader) {
    let constant = |value: f32, length: usize| -> Model {
        [("w", Tensor::from_f32(&[length as u64], &vec![value; length]).unwrap())].into_iter().collect()
    };
    let files = [("global", 0.0), ("w", 0.0), ("a", 1.0), ("b", 2.0), ("c", 0.0), ("ca", 0.25), ("cb", 0.75)];
    let mut models = files.map(|(name, value)| (name, constant(value, 2))).to_vec();
    models.extend([("server", constant(0.5, 2)), ("broken", constant(f32::NAN, 2)), ("other", constant(0.0, 3))]);
    for (name, model) in models {
        let file = safetensors::to_bytes(&model, &std::collections::BTreeMap::new());
        fs::write(reader.folder.join(format!("{name}.safetensors")), file).unwrap();
    }
    reader.rest();
}

fn operating(reader: &mut Reader) {
    reader.has_the_example();
    // A server with TLS, and its clients.
    reader.block();
    fs::copy(reader.home().join(".flame/control/tls/ca.pem"), reader.folder.join("ca.pem")).unwrap();
    reader.has_the_design();
    reader.has_a_started_job();
    reader.block();
    reader.tasks_complete();
    let token = fs::read_to_string(reader.home().join(".flame/control/token")).unwrap();
    reader.export("FLAME_TOKEN", token.trim().to_owned());
    reader.block();
    reader.stops_serving();
    // The audit log and the backup are shown for one without.
    reader.serves("flame-control --broker-port 0");
    reader.block();
    reader.block();
    reader.stops_serving();
    reader.block();
}

fn policy(reader: &mut Reader) {
    reader.has_the_example();
    reader.serves("flame-control --broker-port 0");
    // The page's own policy, with a key that is one.
    let key = reader.does("flamectl keygen -o hospital.key");
    let key = key.lines().find(|line| line.starts_with("flame-ed25519:")).unwrap();
    reader.does("flamectl sign mnist.wasm --key hospital.key");
    let text = page::text("docs/policy.md");
    let policy = page::examples(&text, "toml")[0].replace("flame-ed25519:…", key);
    fs::write(reader.folder.join("policy.toml"), policy).unwrap();
    reader.does("flamectl create design mnist");
    reader.does("flamectl create schema schema.json --design mnist");
    reader.does("flamectl create code mnist.wasm --design mnist --signature mnist.wasm.sig");
    reader.has_a_started_job();
    reader.block();
    reader.tasks_complete();
    reader.has_a_started_job();
    reader.block();
    let shown = reader.does("flamelet audit show");
    assert!(shown.contains("completed"), "{shown}");
    reader.block();
}

fn signing(reader: &mut Reader) {
    reader.has_the_example();
    reader.serves("flame-control --broker-port 0");
    reader.does("flamectl create design mnist");
    reader.does("flamectl create schema schema.json --design mnist");
    reader.rest();
}

fn topologies(reader: &mut Reader) {
    // The files are the page's own.
    let text = page::text("docs/topologies.md");
    fs::write(reader.folder.join("schema.json"), page::examples(&text, "yaml")[0]).unwrap();
    fs::write(reader.folder.join("job.json"), page::examples(&text, "json")[0]).unwrap();
    reader.rest();
}

fn brokers(reader: &mut Reader) {
    reader.has_the_example();
    // The certificate that some server made is for this machine, and so good for a broker on it.
    let other = reader.home().join("other");
    reader.serves(&format!("FLAME_HOME={} flame-control --tls --broker-port 0", other.display()));
    let tls = other.join("control/tls").display().to_string();
    fs::copy(format!("{tls}/ca.pem"), reader.folder.join("ca.crt")).unwrap();
    // Started by root it would become a user who cannot read them.
    let files = format!("cafile {tls}/ca.pem\ncertfile {tls}/server.pem\nkeyfile {tls}/server.key");
    let settings = format!("{files}\nallow_anonymous true\nuser root");
    let Some(broker) = Mosquitto::start_with(&settings) else { return reader.gives_up() };
    reader.stands_for("mqtts://broker.example.org", format!("mqtts://localhost:{}", broker.port()));
    reader.block();
    // Its channels go over that broker.
    reader.has_the_design();
    reader.has_a_started_job();
    reader.has_a_participant();
    reader.tasks_complete();
    // Before the broker ends.
    reader.stops_serving();
}

fn mnist_example(reader: &mut Reader) {
    // A checkout in which the component was built.
    let checkout = reader.folder.clone();
    reader.folder = checkout.join("examples/mnist-wasm");
    let built = checkout.join("target/wasm32-wasip2/release");
    for folder in [&reader.folder, &built] {
        fs::create_dir_all(folder).unwrap();
    }
    reader.has_files_of_the_example();
    fs::copy(flame_tests::mnist(), built.join("mnist.wasm")).unwrap();
    reader.rest();
    reader.tasks_complete();
    let job = reader.stand_in("JOB").to_owned();
    let job = reader.does(&format!("flamectl get job {job} -o json"));
    assert!(job.contains("\"completed\""), "{job}");
}

#[test]
fn every_page_that_shows_commands_has_its_test() {
    for page in page::pages() {
        let blocks = page::blocks(&page::text(&page));
        let runs = |command: &page::Command| !tables::without_what_is_left_out(&page, &command.text).is_empty();
        let shows = blocks.iter().flatten().any(runs);
        assert_eq!(shows, PAGES.contains(&page.as_str()), "{page}");
    }
}

#[test]
fn whatever_is_left_out_or_stood_in_for_is_in_a_page() {
    let shown: Vec<(String, String)> = page::pages()
        .into_iter()
        .flat_map(|page| {
            let blocks = page::blocks(&page::text(&page));
            blocks.into_iter().flatten().map(move |command| (page.clone(), command.text))
        })
        .collect();
    for (page, text, why) in LEFT_OUT {
        let occurs = shown.iter().any(|(of, command)| of == page && command.contains(text));
        assert!(occurs, "{page} no longer shows {text} ({why})");
    }
    for (text, meaning) in STAND_INS {
        let occurs = shown.iter().any(|(_, command)| !tables::places(command, text).is_empty());
        assert!(occurs, "no page shows {text} ({meaning})");
    }
}
