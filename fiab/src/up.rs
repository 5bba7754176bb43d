//! `fiab up`: the control plane, its broker and a place for system tasks, until a signal.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use flame_control::{BrokerChoice, CliConfig, EndSignals, Rates, Server, ServerConfig, Tls, write_cli_config};
use flame_sandbox::{Compiler, Sandbox, SandboxConfig};
use flamelet::AgentConfig;

use crate::args::UpArgs;
use crate::deployer::InProcessDeployer;
use crate::home::flame_home;
use crate::values::Values;

pub(crate) async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    let values = args.values.as_deref().map(Values::read).transpose()?.unwrap_or_default();
    let home = args.home.clone().unwrap_or_else(|| flame_home().join("fiab"));
    let datasets = AgentConfig::load_data(&args.data)?;
    let sandbox = Arc::new(Sandbox::new(&SandboxConfig {
        cache: Some(home.join("cache")),
        compiler: Compiler::this_program(),
        ..SandboxConfig::default()
    })?);
    // Before it says where it is: whoever reads that may end it at once.
    let mut end = EndSignals::listen()?;
    let server = Server::start(ServerConfig {
        home: home.join("control"),
        api: SocketAddr::new(args.listen, args.api_port),
        notifier: SocketAddr::new(args.listen, args.notifier_port),
        tls: Tls::Off,
        rates: Rates::default(),
        broker: match values.broker_url() {
            Some(url) => BrokerChoice::External { url, username: None, password: None, ca: None },
            None => BrokerChoice::Embedded { listen: SocketAddr::new(args.listen, args.broker_port) },
        },
        deployer: Arc::new(InProcessDeployer::new(sandbox, datasets).keeping_state(home.join("state"))),
        system_data: Vec::new(),
        advertise_host: None,
        skip_admission: false,
    })
    .await?;
    let api = format!("http://{}", server.api_addr());
    let config = write_cli_config(&flame_home(), &api, server.token(), server.ca())?;

    println!("Flame in a box is up.");
    println!("  apiserver  {api}");
    println!("  notifier   {}", server.notifier_addr());
    println!("  broker     {}", server.broker_url());
    match config {
        CliConfig::Written(path) => println!("  flamectl   finds it by {}", path.display()),
        CliConfig::LeftAlone { path, endpoint } => println!(
            "  flamectl   is set to {endpoint} by {}; for this server: flamectl --apiserver {api} with the token in {}",
            path.display(),
            home.join("control/token").display()
        ),
    }
    if !args.listen.is_loopback() {
        eprintln!("INSECURE: no TLS, and other machines can reach it; for others run flame-control, which has TLS");
    }
    println!();
    println!("Next: flamectl create design my_first_design -d \"what it is for\"");
    println!("Ctrl-C stops everything; what was created is kept in {}.", home.display());

    end.wait().await;
    eprintln!("stopping");
    server.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
