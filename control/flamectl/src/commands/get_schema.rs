//! `flamectl get schema DESIGN`: a schema as tables, as a file, or as a picture.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flame_api::{Client, DesignId};
use flame_tag::Schema;

use crate::job_file::mistakes;
use crate::table::table;
use crate::{Context, Failure, Format, Printer, draw, files};

const AFTER_HELP: &str = "\
Examples:
  flamectl get schema mnist
  flamectl get schema mnist --version 2 -o yaml
  flamectl get schema mnist -o dot | dot -Tpng -o mnist.png
  flamectl get schema --file schema.json -o svg > schema.svg        (no server is asked)";

/// Arguments of `get schema`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct GetSchemaArgs {
    /// Name of the design
    #[arg(value_name = "DESIGN", required_unless_present = "file", conflicts_with = "file")]
    pub design: Option<DesignId>,
    /// Revision [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "file")]
    pub version: Option<u32>,
    /// Show the schema in a file, without a server
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How to print; json and yaml can be uploaded again
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: SchemaFormat,
}

/// How a schema is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SchemaFormat {
    /// Tables of its roles and channels.
    #[default]
    Table,
    /// The same with all columns.
    Wide,
    /// A schema file in JSON.
    Json,
    /// A schema file in YAML.
    Yaml,
    /// A picture for Graphviz.
    Dot,
    /// A picture for Markdown.
    Mermaid,
    /// A picture for a browser.
    Svg,
}

pub(crate) async fn run(args: GetSchemaArgs, context: &mut Context) -> Result<(), Failure> {
    let Some(design) = &args.design else { return run_offline(&args, &mut context.printer) };
    let version = match args.version {
        Some(version) => version,
        None => newest(design, &context.client).await?,
    };
    let schema = fetch(design, version, &context.client).await?;
    show(&schema, args.output, &mut context.printer)
}

/// The same for a file, without a server.
pub(crate) fn run_offline(args: &GetSchemaArgs, printer: &mut Printer) -> Result<(), Failure> {
    let path = args.file.as_deref().unwrap_or(Path::new("schema.json"));
    let text = files::read_text(path, "schema file")?;
    let schema = Schema::parse(&text, &path.to_string_lossy()).map_err(|problems| mistakes(&problems))?;
    show(&schema, args.output, printer)
}

/// The newest revision of a design's schema.
pub(crate) async fn newest(design: &DesignId, client: &Client) -> Result<u32, Failure> {
    let detail = client.design(design).await?;
    detail.schemas.iter().map(|revision| revision.version).max().ok_or_else(|| {
        Failure::outcome(
            format!("no design schema found: design {design} has none"),
            format!("add it with `flamectl create schema schema.json --design {design}`"),
        )
    })
}

pub(crate) async fn fetch(design: &DesignId, version: u32, client: &Client) -> Result<Schema, Failure> {
    let bytes = client.schema(design, version).await?;
    let name = format!("schema {version} of design {design}");
    let odd = |what: String| {
        Failure::outcome(format!("{name} cannot be read: {what}"), "is flamectl of the server's version?")
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| odd(error.to_string()))?;
    Schema::parse(text, &name).map_err(|problems| odd(problems.to_string()))
}

fn show(schema: &Schema, format: SchemaFormat, printer: &mut Printer) -> Result<(), Failure> {
    let drawn = match format {
        SchemaFormat::Json => return printer.value(Format::Json, schema).map(drop),
        SchemaFormat::Yaml => return printer.value(Format::Yaml, schema).map(drop),
        SchemaFormat::Dot => draw::dot(schema),
        SchemaFormat::Mermaid => draw::mermaid(schema),
        SchemaFormat::Svg => draw::svg(schema),
        SchemaFormat::Table | SchemaFormat::Wide => tables(schema, format == SchemaFormat::Wide),
    };
    printer.line(drawn.trim_end())?;
    Ok(())
}

fn tables(schema: &Schema, wide: bool) -> String {
    let mut of_roles = vec!["ROLE", "DATA", "REPLICAS", "GROUPS"];
    let mut of_channels = vec!["CHANNEL", "BETWEEN", "GROUPS", "BACKEND"];
    if wide {
        of_roles.push("DESCRIPTION");
        of_channels.extend(["FUNCTION TAGS", "DESCRIPTION"]);
    }
    let roles = schema.roles.iter().map(|role| {
        let place = |association: &std::collections::BTreeMap<String, String>| {
            let groups: Vec<_> = association.iter().map(|(channel, group)| format!("{channel}:{group}")).collect();
            groups.join(", ")
        };
        let places: Vec<String> = role.group_association.iter().map(place).collect();
        let mut row = vec![
            role.name.clone(),
            if role.is_data_consumer { "yes" } else { "no" }.to_owned(),
            if role.is_data_consumer { "by data".to_owned() } else { role.replicas().to_string() },
            if places.is_empty() { "those of its channels".to_owned() } else { places.join("; ") },
        ];
        if wide {
            row.push(role.description.clone());
        }
        row
    });
    let channels = schema.channels.iter().map(|channel| {
        let mut row = vec![
            channel.name.clone(),
            channel.pair.join(" and "),
            channel.groups().join(", "),
            channel.backend.map_or_else(|| "the job's".to_owned(), |backend| backend.to_string()),
        ];
        if wide {
            let tags: Vec<_> =
                channel.func_tags.iter().map(|(role, tags)| format!("{role}: {}", tags.join(" "))).collect();
            row.extend([tags.join("; "), channel.description.clone()]);
        }
        row
    });
    format!("{}\n{}", table(&of_roles, roles), table(&of_channels, channels))
}
