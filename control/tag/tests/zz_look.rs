use flame_tag::*;
#[test]
fn look() {
    for t in [
        "{\"a\": [1, 2}",
        "a: 1\nb: 2\na: 3\n",
        "designId: d\ndataSpec: {fromUser: {g: 1}}\nhyperparameters: {rate: .inf}\n",
        "{\"designId\": \"d\",,}",
        "a: [",
        "---\na: 1\n---\nb: 1\n",
        "a: !!binary x",
        "? [1]\n: 2",
        "seed: 99999999999999999999\ndesignId: \"x y\"\ndataSpec: 5",
    ] {
        println!("{}\n--", JobSpec::parse(t, "job.json", &|p| Err(p.into())).unwrap_err());
    }
    let t = std::time::Instant::now();
    let ids: Vec<String> = (0..10_000).map(|i| format!("{i:024x}")).collect();
    let job = serde_json::json!({"designId":"d","dataSpec":{"fromSystem":{"g":ids}}}).to_string();
    let s = r#"{"name":"s","roles":[{"name":"t","isDataConsumer":true}],"channels":[{"name":"c","pair":["t","t"],"groupBy":{"type":"tag","value":["g"]}}]}"#;
    println!(
        "{} {:?}",
        dry_run((s, "s"), (&job, "j"), &|p| Err(p.into()), None, None).unwrap().tasks.len(),
        t.elapsed()
    );
}
