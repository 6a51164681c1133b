//! `cairn broker`: a broker's process, from its configuration to its exit code.
//!
//! Must not know: what a broker does.

use std::pin::Pin;

use anyhow::anyhow;
use cairn_broker::config::{BrokerConfig, Sources};
use cairn_broker::{Broker, Loggers, raise_descriptor_limit};
use tracing_subscriber::EnvFilter;

use crate::args::BrokerArgs;
use crate::exit::{Failure, Outcome};
use crate::notify::{State, notify};
use crate::output::Output;
use crate::signals::Ending;

/// Logs to stderr, as `RUST_LOG` says or by this default; what comes back can change the levels.
pub(crate) fn log_to_stderr(default: &str) -> Loggers {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| EnvFilter::try_new(text).is_ok());
    let text = from_environment.as_deref().unwrap_or(default);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let logger = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(text))
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_filter_reloading();
    let handle = logger.reload_handle();
    let loggers = Loggers::new(text, move |filter| {
        let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    });
    // A second call in one process, as tests may do, changes nothing.
    let _ = logger.try_init();
    loggers
}

/// Runs a broker until it is asked to end.
pub(crate) fn run(args: &BrokerArgs) -> Outcome {
    // What the Raft library notes of each step is for its own developers.
    let loggers = log_to_stderr("info,openraft=warn");
    raise_descriptor_limit();
    let config = BrokerConfig::load(&sources(args)).map_err(|error| Failure::usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("cairn")
        .build()
        .map_err(|error| Failure::Failed(anyhow!(error).context("cannot start a runtime")))?;
    // Boxed for the reason that the other commands are.
    let broker: Pin<Box<dyn Future<Output = Outcome>>> = Box::pin(serve(config, loggers));
    runtime.block_on(broker)
}

/// The file, then the environment, then `--set`, then the flags.
fn sources(args: &BrokerArgs) -> Sources {
    let mut sources = Sources::none().environment(std::env::vars());
    if let Some(file) = &args.config {
        sources = sources.file(file);
    }
    for pair in &args.set {
        sources = sources.set(&pair.key, &pair.value);
    }
    if !args.data.is_empty() {
        let dirs: Vec<_> = args.data.iter().map(|data| data.to_string_lossy()).collect();
        sources = sources.set("log.dirs", &dirs.join(","));
    }
    if let Some(listen) = &args.listen {
        sources = sources.set("listeners", &format!("PLAINTEXT://{listen}"));
    }
    if let Some(listen) = &args.peer_listen {
        sources = sources.set("peer.listener", listen);
    }
    if let Some(join) = &args.join {
        sources = sources.set("cluster.join", join);
    }
    if let Some(seeds) = &args.seeds {
        sources = sources.set("cluster.seeds", seeds);
    }
    if let Some(file) = &args.join_secret_file {
        sources = sources.set("cluster.join.secret.file", &file.to_string_lossy());
    }
    if let Some(metrics) = &args.metrics {
        sources = sources.set("metrics.listener", metrics);
    }
    if let Some(id) = args.node_id {
        sources = sources.set("node.id", &id.to_string());
    }
    sources
}

async fn serve(config: BrokerConfig, loggers: Loggers) -> Outcome {
    // Before the start: a signal in the middle of it is a wish to end, too.
    let mut ending = Ending::listen()?;
    let broker = Broker::start_with(config, loggers).await.map_err(|error| {
        let code = error.exit_code();
        let error = anyhow!(error);
        match code {
            2 => Failure::Usage(error),
            3 => Failure::DataInUse(error),
            4 => Failure::Storage(error),
            _ => Failure::Failed(error),
        }
    })?;
    say_ready(&broker)?;
    notify(State::Ready);
    let signal = ending.asked().await;
    notify(State::Stopping);
    tracing::info!(signal, "stopping");
    broker.shutdown().await;
    Ok(())
}

/// The one line on stdout, for people and scripts.
fn say_ready(broker: &Broker) -> Outcome {
    let addresses = broker.addresses();
    let kafka: Vec<String> = addresses.kafka.iter().map(|(_, address)| address.to_string()).collect();
    let config = broker.config();
    let data: Vec<String> = config.data_dirs().iter().map(|dir| dir.display().to_string()).collect();
    let line = format!(
        "ready: kafka={} metrics={} data={} node={}",
        kafka.join(","),
        addresses.metrics,
        data.join(","),
        config.node_id
    );
    let mut output = Output::stdout();
    match output.line(line.as_bytes()).and_then(|()| output.flush()) {
        // A broker whose starter went away serves all the same.
        Err(Failure::OutputClosed) => Ok(()),
        said => said,
    }
}
