//! `tensorforge serve`: loads the models and answers requests until told to stop.

use super::models::list;
use super::output::notice;
use super::{CliError, Output, routes};
use crate::batch_scheduler::BatchScheduler;
use crate::clock::Clock;
use crate::config::{Backend, ModelConfig, parse_duration};
use crate::contracts::RepositoryEntry;
use crate::device::cpu::{self, CpuOptions};
use crate::gateway::{Gateway, GatewayOptions};
use crate::models::{TensorSpec, element_count};
use crate::registry::{DemandLimits, LoadedModel, ModelControl, Registry, RegistryOptions};
use crate::server::{Server, ServerLimits};
use crate::service::Service;
use crate::workflow::SharedSink;
use crate::workflow::audit::{Buffered, Fsync, JsonLines, LinesOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Serve the models of a folder over the Open Inference Protocol v2
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tensorforge serve                                  the models in ./models, on port 8000
  tensorforge serve --models /srv/models --address 0.0.0.0:8000
  tensorforge serve --max-wait 2ms                   wait up to 2 ms to fill a batch
  tensorforge serve --max-batch 1                    no batching
  tensorforge serve --audit audit.jsonl              every step of every request and model, on record
  tensorforge serve --routes routes.toml             in front of other servers, see `routes check`
  tensorforge serve --record trace.jsonl             every decision, to be made again by `replay`
  tensorforge serve --model-control explicit         no model until `tensorforge models load` asks for it
  tensorforge serve --model-control on-demand        each model when the first request asks for it
  tensorforge serve --poll 5s                        follows changes of the folder

A model is a folder NAME/VERSION/model.onnx; NAME/config.toml may say how it is served.
Ctrl-C or SIGTERM drains: no new requests, the ones in hand are answered, exit code 0.
A second one stops at once.")]
pub(super) struct Args {
    /// The model repository
    #[arg(long, value_name = "DIR", default_value = "models", env = "TENSORFORGE_MODELS")]
    models: PathBuf,

    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8000",
        env = "TENSORFORGE_ADDRESS"
    )]
    address: SocketAddr,

    /// Runtime for every model: auto, tract or onnxruntime
    #[arg(long, value_name = "NAME", env = "TENSORFORGE_BACKEND")]
    backend: Option<Backend>,

    /// ONNX Runtime's library, when it is not in a usual place (see `tensorforge doctor`)
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,

    /// Most items in a batch, for every model; 1 turns batching off
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_batch: Option<u32>,

    /// Longest wait for a batch to fill, for every model, such as 2ms
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_wait: Option<Duration>,

    /// Threads that run models [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,

    /// Share of what runs, in percent, that is kept for requests that have waited for --starve-after,
    /// whatever waits at higher priorities; 0 for strict priorities
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=100))]
    min_share: u16,

    /// When a request of low priority has waited too long
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    starve_after: Duration,

    /// MiB of memory that running batches may take together: by what each model takes when it is loaded, or
    /// what `memory` in its config.toml says
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory: Option<u32>,

    /// Who decides which models are loaded: `none` loads all there are at the start, `explicit` those that
    /// are asked for, by --load-model or later by `tensorforge models load`, `on-demand` these and each that
    /// an inference request asks for
    #[arg(long, value_name = "WHO", default_value = "none", env = "TENSORFORGE_MODEL_CONTROL")]
    model_control: Control,

    /// With --model-control explicit or on-demand, a model to start with; `*` for all; may be repeated
    #[arg(long, value_name = "NAME")]
    load_model: Vec<String>,

    /// With --model-control on-demand, how long a request waits for its model to be loaded, if its own
    /// timeout is not shorter [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    load_wait: Option<Duration>,

    /// With --model-control on-demand, how long a model stays loaded before another that a request asks for
    /// may take its room: two that do not fit together take turns no faster [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    min_stay: Option<Duration>,

    /// Look through the models' folder so often, and load, load again or unload what has changed
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    poll: Option<Duration>,

    /// MiB that all loaded models may take together, by what their runtimes say or else by their files: a load
    /// on request unloads what was not used for the longest time, unless its config.toml says `pinned = true`
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    model_memory: Option<u32>,

    /// MiB of inputs that may wait, over all models; more get status 503
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    max_queued: Option<u32>,

    /// Most MiB in one request body, after decompression
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_body: u32,

    /// Longest time to answer the requests in hand when told to stop
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    drain_timeout: Duration,

    /// Write every step of every request and model to this file, for `tensorforge audit`
    #[arg(long, value_name = "FILE", env = "TENSORFORGE_AUDIT")]
    audit: Option<PathBuf>,

    /// Put each audit record on the disk before the next, so that a loss of power takes none
    #[arg(long, requires = "audit")]
    audit_sync: bool,

    /// Write everything that the batch scheduler is told and decides to this file, for `tensorforge replay`
    #[arg(long, value_name = "FILE", env = "TENSORFORGE_RECORD")]
    record: Option<PathBuf>,

    /// Send requests where this table says: to this server's own models and to other servers. It is read
    /// again when it changes
    #[arg(long, value_name = "FILE", env = "TENSORFORGE_ROUTES")]
    routes: Option<PathBuf>,

    /// Let `tensorforge routes publish`, `join`, `drain` … change the table over HTTP: whoever reaches this
    /// address may then send its requests anywhere
    #[arg(long, requires = "routes")]
    admin: bool,

    /// How long one endpoint of --routes has for one request
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration, requires = "routes")]
    attempt_timeout: Duration,

    /// How many requests may wait, by priority, while all endpoints of their model are as full as the table's
    /// `limit` lets them be; with 0 they are refused at once
    #[arg(long, value_name = "N", default_value_t = 1024, requires = "routes")]
    max_waiting: usize,

    /// Do not start unless every model loads
    #[arg(long)]
    strict: bool,
}

/// Who decides which models are loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Control {
    /// All that are there at the start.
    None,
    /// Those that are asked for.
    Explicit,
    /// Those that are asked for, by inference requests too.
    OnDemand,
}

impl Args {
    fn control(&self) -> Result<ModelControl, CliError> {
        let at_start = || self.load_model.iter().cloned().collect();
        let of_demand = [("--load-wait", self.load_wait), ("--min-stay", self.min_stay)];
        match self.model_control {
            Control::None | Control::Explicit if of_demand.iter().any(|(_, set)| set.is_some()) => {
                let set = of_demand.iter().find(|(_, set)| set.is_some());
                let name = set.map_or("", |(name, _)| name);
                let message = format!("{name} needs --model-control on-demand");
                Err(CliError::usage(message).help("otherwise no request loads a model"))
            }
            Control::None if !self.load_model.is_empty() => {
                let message = "--load-model needs --model-control explicit or on-demand";
                Err(CliError::usage(message).help("without it all models are loaded at the start"))
            }
            Control::None if self.poll == Some(Duration::ZERO) => {
                Err(CliError::usage("--poll must be more than 0").help("such as --poll 5s"))
            }
            Control::None => Ok(ModelControl::None),
            Control::Explicit | Control::OnDemand if self.poll.is_some() => {
                let message = "--poll does not go with --model-control explicit or on-demand";
                Err(CliError::usage(message).help("either the folder decides, or those who ask"))
            }
            Control::Explicit => Ok(ModelControl::Explicit(at_start())),
            Control::OnDemand => {
                let limits = DemandLimits::default();
                let longest_wait = self.load_wait.unwrap_or(limits.longest_wait);
                let min_stay = self.min_stay.unwrap_or(limits.min_stay);
                let limits = DemandLimits { longest_wait, min_stay, ..limits };
                Ok(ModelControl::OnDemand { at_start: at_start(), limits })
            }
        }
    }
}

/// Serves until told to stop.
///
/// # Errors
/// [`CliError`] names what could not be read, loaded or bound.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), CliError> {
    let clock = Clock::start();
    let control = args.control()?;
    let audit = open_audit(args)?;
    let registry = load_models(args, control, clock, audit.as_ref())?;
    let workers = args.workers.map_or_else(
        || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        usize::from,
    );
    let failed = |error: &dyn std::fmt::Display| CliError::failed(format!("cannot start: {error}"));
    let scheduler = match &args.record {
        None => BatchScheduler::start(clock, workers).map_err(|error| failed(&error))?,
        Some(path) => {
            let file = std::fs::File::create(path).map_err(|error| {
                let message = format!("cannot record to {}: {error}", path.display());
                CliError::unusable(message).help("name a file that can be written")
            })?;
            BatchScheduler::start_recorded(clock, workers, file).map_err(|error| failed(&error))?
        }
    };
    scheduler.set_fairness(args.min_share * 10, args.starve_after);
    let bytes = |mib: u32| u64::from(mib) << 20;
    if let Some(mib) = args.memory {
        scheduler.set_memory(bytes(mib));
    }
    if let Some(mib) = args.max_queued {
        scheduler.set_max_queued_bytes(bytes(mib));
    }
    let service = Service::new(clock, registry, scheduler);
    let mut service = service.map_err(|error| failed(&error))?;
    if let Some(audit) = &audit {
        service = service.audited(Arc::clone(audit) as SharedSink);
    }
    let service = Arc::new(service);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    let gateway = match &args.routes {
        None => None,
        Some(file) => {
            let attempt_timeout = args.attempt_timeout;
            let options = GatewayOptions {
                attempt_timeout,
                max_waiting: args.max_waiting,
                ..GatewayOptions::default()
            };
            let gateway = routes::gateway(file, options, clock, &service)?;
            let weak = Arc::downgrade(&gateway);
            // However the model changes, what was kept of it is of the one before.
            service.registry().observe(move |model| {
                if let Some(gateway) = weak.upgrade() {
                    gateway.forget_answers(model);
                }
            });
            runtime.spawn(Arc::clone(&gateway).keep_probing());
            runtime.spawn(routes::follow(Arc::clone(&gateway), file.clone()));
            Some(gateway)
        }
    };
    let served = runtime.block_on(serve(args, output, service, gateway));
    // Connections that linger are cut off first: their requests are on record then.
    drop(runtime);
    if let Some(audit) = audit {
        audit.flush();
        let (dropped, failed) = (audit.dropped(), audit.failed());
        if dropped + failed > 0 {
            notice(&format!(
                "warning: {dropped} audit records found no room, {failed} could not be written"
            ));
        }
    }
    served
}

/// Room for records that wait to be written: more than a request's for each that may be in hand.
const AUDIT_BUFFER: usize = 1 << 16;

fn open_audit(args: &Args) -> Result<Option<Arc<Buffered>>, CliError> {
    let Some(path) = &args.audit else { return Ok(None) };
    let fsync = if args.audit_sync { Fsync::Every(1) } else { Fsync::Never };
    let file = JsonLines::open(path, LinesOptions { fsync, ..LinesOptions::default() })
        .map_err(|error| CliError::unusable(error.to_string()))?;
    let buffered = Buffered::new(file, AUDIT_BUFFER)
        .map_err(|error| CliError::failed(format!("cannot start: {error}")))?;
    Ok(Some(Arc::new(buffered)))
}

async fn serve(
    args: &Args,
    output: &Output,
    service: Arc<Service>,
    gateway: Option<Arc<Gateway>>,
) -> Result<(), CliError> {
    let limits = ServerLimits {
        max_body: (args.max_body as usize) << 20,
        admin: args.admin,
        ..ServerLimits::default()
    };
    let cannot_listen = |error| CliError::cannot_listen(args.address, &error);
    let server = Server::bind(args.address, limits).await.map_err(cannot_listen)?;
    let address = server.address().map_err(cannot_listen)?;
    let mut stop = Stop::listen().map_err(|error| CliError::failed(error.to_string()))?;
    announce(args, output, &service, address);

    let (draining, drain) = tokio::sync::oneshot::channel();
    let serving = server.serve_routed(Arc::clone(&service), gateway, async {
        stop.requested().await;
        let pending = service.pending();
        notice(&format!("draining: {pending} requests in hand (Ctrl-C again stops at once)"));
        // The other end waits as long as this function runs.
        let _ = draining.send(stop);
    });
    let give_up = async {
        let Ok(mut stop) = drain.await else { return std::future::pending().await };
        tokio::select! {
            () = stop.requested() => "stopped before all requests were answered".to_owned(),
            () = tokio::time::sleep(args.drain_timeout) => {
                format!("not drained within {:?} (--drain-timeout)", args.drain_timeout)
            }
        }
    };
    tokio::select! {
        () = serving => Ok(()),
        () = follow(args.poll, Arc::clone(&service)) => Ok(()),
        // Threads that still run a model cannot be stopped; the process ends under them.
        message = give_up => {
            notice(&format!("error: {message}"));
            std::process::exit(1);
        }
    }
}

/// Ctrl-C and SIGTERM.
struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn requested(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

fn load_models(
    args: &Args,
    control: ModelControl,
    clock: Clock,
    audit: Option<&Arc<Buffered>>,
) -> Result<Registry, CliError> {
    let (library, counts_memory) = (args.onnxruntime.clone(), args.memory.is_some());
    let loader = move |path: &Path, config: &ModelConfig| {
        let options = CpuOptions {
            backend: config.backend,
            batch_sizes: config.batch_sizes().into_iter().map(|size| size as usize).collect(),
            threads: config.threads as usize,
            instances: config.instances as usize,
            onnxruntime: library.clone(),
        };
        let executor = cpu::load(path, &options)?;
        if !counts_memory || config.memory.is_some() {
            return Ok(executor);
        }
        Ok(cpu::measured(executor, config.max_batch as usize).unwrap_or_else(|(executor, why)| {
            let path = path.display();
            notice(&format!("warning: the memory of {path} is not counted: {why}; say `memory` in its config.toml"));
            executor
        }))
    };
    let (backend, max_wait, max_batch) = (args.backend, args.max_wait, args.max_batch);
    let adjust = move |config: &mut ModelConfig| {
        config.backend = backend.unwrap_or(config.backend);
        config.max_wait = max_wait.unwrap_or(config.max_wait);
        if let Some(max_batch) = max_batch {
            config.max_batch = max_batch;
            // The model's own sizes belong to its own maximum.
            config.batch_sizes = None;
            config.preferred_sizes.retain(|&size| size <= max_batch);
        }
    };
    let folder = args.models.display();
    // A gateway may have no models of its own.
    if args.routes.is_some() && !args.models.exists() {
        return Registry::empty().map_err(|error| CliError::failed(error.to_string()));
    }
    let sink = audit.map(|audit| Arc::clone(audit) as SharedSink);
    let memory = args.model_memory.map(|mib| u64::from(mib) << 20);
    let options = RegistryOptions { control, memory, clock, sink };
    let registry = Registry::open(&args.models, loader, adjust, options).map_err(|error| {
        CliError::unusable(error.to_string())
            .help("name the folder with --models DIR; it holds NAME/VERSION/model.onnx")
    })?;
    check_models(args, &registry.index(), !registry.ready().is_empty(), &folder)?;
    Ok(registry)
}

/// Whether what was loaded is enough to start with; says what was not.
fn check_models(
    args: &Args,
    index: &[RepositoryEntry],
    any_ready: bool,
    folder: &dyn std::fmt::Display,
) -> Result<(), CliError> {
    let asked_for = |name: &String| {
        args.model_control == Control::None
            || args.load_model.iter().any(|asked| asked == "*" || asked == name)
    };
    let missing =
        |asked: &&String| *asked != "*" && index.iter().all(|entry| entry.name != **asked);
    if let Some(name) = args.load_model.iter().find(missing) {
        return Err(CliError::unusable(format!("there is no model '{name}' in {folder}"))
            .help("--load-model takes the name of a folder in it"));
    }
    let wanted: Vec<&RepositoryEntry> =
        index.iter().filter(|entry| asked_for(&entry.name)).collect();
    let broken: Vec<&&RepositoryEntry> =
        wanted.iter().filter(|entry| !entry.reason.is_empty()).collect();
    for RepositoryEntry { name, version, reason, .. } in &broken {
        notice(&format!("warning: model '{name}' version {version} is not served: {reason}"));
    }
    let may_begin_empty = args.model_control != Control::None || args.poll.is_some();
    if index.is_empty() && !may_begin_empty {
        return Err(CliError::unusable(format!("there is no model in {folder}"))
            .help("put one at NAME/VERSION/model.onnx below it, or name another with --models"));
    }
    if (!any_ready && !may_begin_empty) || (args.strict && !broken.is_empty()) {
        let (bad, all) = (broken.len(), wanted.len());
        let message = format!("{bad} of {all} model versions in {folder} did not load");
        return Err(CliError::unusable(message).help("see the warnings above for each reason"));
    }
    Ok(())
}

/// Follows the models' folder for as long as it is polled.
async fn follow(every: Option<Duration>, service: Arc<Service>) {
    let Some(every) = every else { return std::future::pending().await };
    loop {
        tokio::time::sleep(every).await;
        let service = Arc::clone(&service);
        let scanned = tokio::task::spawn_blocking(move || service.registry().rescan()).await;
        match scanned {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the models stay as they are"),
            Err(error) => tracing::error!(%error, "the models' folder was not looked through"),
        }
    }
}

/// Says where the server is, what it serves, and how to try it.
fn announce(args: &Args, output: &Output, service: &Service, address: SocketAddr) {
    let url = format!("http://{address}");
    let ready = service.registry().ready();
    let try_it = ready.iter().find_map(|model| curl_line(args, model, &url));
    if output.is_json() {
        let models = service.index();
        output.json(&serde_json::json!({ "url": url, "models": models, "curl": try_it }));
        return;
    }
    output.text(&format!("TensorForge {} serves {url}\n", env!("CARGO_PKG_VERSION")));
    for model in &ready {
        let io = model.executor.io();
        let (name, version, backend) = (&model.name, &model.version, model.executor.backend());
        let (inputs, outputs) = (list(&io.inputs), list(&io.outputs));
        output.text(&format!("  {name} version {version} on {backend}: {inputs} -> {outputs}"));
    }
    if let Some(line) = try_it {
        output.text(&format!("\nTry it:\n  {line}"));
    }
    output.text("\nCtrl-C drains and stops.");
}

/// A `curl` command that works when pasted: with the smallest ready-made request beside the model,
/// or zeros when the model is small.
fn curl_line(args: &Args, model: &LoadedModel, url: &str) -> Option<String> {
    let name = &model.name;
    let url = format!("{url}/v2/models/{name}/infer");
    let requests = args.models.join(name).join("requests");
    let ready_made = std::fs::read_dir(requests).ok().and_then(|entries| {
        let json = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
        let files = entries.flatten().map(|entry| entry.path()).filter(json);
        files.min_by_key(|path| (path.metadata().map_or(u64::MAX, |file| file.len()), path.clone()))
    });
    if let Some(file) = ready_made {
        return Some(format!("curl -s {url} -d @{}", file.display()));
    }
    let input = |spec: &TensorSpec| {
        let shape: Vec<usize> =
            spec.shape.iter().map(|&size| usize::try_from(size).unwrap_or(1)).collect();
        let elements = element_count(&shape).filter(|&elements| elements <= 64)?;
        let zero = match spec.datatype {
            crate::models::DataType::Bool => serde_json::json!(false),
            crate::models::DataType::Bytes => serde_json::json!(""),
            _ => serde_json::json!(0),
        };
        let (name, datatype) = (&spec.name, spec.datatype);
        let data = vec![zero; elements];
        Some(serde_json::json!({"name": name, "datatype": datatype, "shape": shape, "data": data}))
    };
    let inputs: Option<Vec<_>> = model.executor.io().inputs.iter().map(input).collect();
    let body = serde_json::json!({ "inputs": inputs? });
    Some(format!("curl -s {url} -d '{body}'"))
}
